"""Counted FLOPs and activations against formulas, real models and torch's memory tracker."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.planning.flops import (
    ETTIN_SHAPES,
    Encoder,
    build,
    config_of,
    forward,
    modernbert_config,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.sections import Shape

SMALL = Shape(layers=4, hidden_size=32, intermediate_size=48, heads=2, vocabulary=128)
BERT = {
    "model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536,
    "num_attention_heads": 12, "vocab_size": 30522,
}  # fmt: skip


def formula(shape: Shape, tokens: int) -> int:
    """2mkn for each product: four projections, three matrices of a GeGLU, two of attention."""
    width, inner = shape.hidden_size, shape.intermediate_size
    weights = 4 * width**2 + 3 * width * inner
    return shape.layers * (2 * tokens * weights + 2 * 2 * tokens**2 * width)


def local_config(directory: Path) -> Any:
    settings = load_settings().with_changes({"model": "local", "local.encoder": str(directory)})
    return config_of(settings)


def test_flops_of_a_text_by_hand() -> None:
    shape = Shape(layers=1, hidden_size=4, intermediate_size=3, heads=1, vocabulary=128)
    # 2 x 5 x (4 x 4 x 4 + 3 x 4 x 3) + 2 x 2 x 5 x 5 x 4
    assert Encoder(modernbert_config(shape)).flops(5) == pytest.approx(1400, rel=1e-9)


@pytest.mark.parametrize("tokens", [3, 100, 300])
def test_every_layer_multiplies_all_pairs_of_tokens(tokens: int) -> None:
    # 300 is beyond the window of local layers, which are three of the four.
    counted = Encoder(modernbert_config(SMALL)).flops(tokens)
    assert counted == pytest.approx(formula(SMALL, tokens), rel=1e-9)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_flops_are_those_of_a_real_model(attention: str) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = modernbert_config(SMALL)
    config._attn_implementation = attention
    model, encoder = build(config), Encoder(modernbert_config(SMALL))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        states = forward(model, 3, 200)
        counted = counter.get_total_flops()
        states.sum().backward()
    assert counted == pytest.approx(3 * encoder.flops(200), rel=1e-9)
    assert counter.get_total_flops() == pytest.approx(3 * encoder.step(200), rel=1e-9)
    assert encoder.parameters == sum(weight.numel() for weight in model.parameters())


def test_gradient_checkpointing_costs_nearly_a_forward_pass() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = modernbert_config(SMALL)
    config._attn_implementation = "eager"
    model = build(config).train()
    model.activation_checkpointing_enable()
    with FlopCounterMode(display=False) as counter:
        forward(model, 1, 100).sum().backward()
    step = Encoder(config, recompute=True).step(100)
    # torch stops recomputing a layer at its last activation.
    assert 0.9 * step < counter.get_total_flops() <= step
    assert step == pytest.approx(4 * formula(SMALL, 100))


@pytest.mark.parametrize(("name", "millions"), [("17m", 17), ("150m", 149), ("1b", 1028)])
def test_shapes_have_the_parameters_of_their_names(name: str, millions: int) -> None:
    encoder = Encoder(modernbert_config(ETTIN_SHAPES[name]))
    assert round(encoder.parameters / 1e6) == millions


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_that_a_real_model_keeps(precision: str, recompute: bool) -> None:
    import torch

    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    encoder = Encoder(modernbert_config(SMALL), recompute)
    model = build(encoder.config).train(recompute)
    if recompute:
        model.activation_checkpointing_enable()
    ids = torch.ones((8, 150), dtype=torch.long)
    mask = ids.clone()
    mask[0, -1] = 0  # without any padding a real model has no mask
    mixed = torch.autocast("cpu") if precision == "bf16" else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), mixed:
        states = model(input_ids=ids, attention_mask=mask)[0]
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert states.shape == (8, 150, 32)
    if recompute:
        total += Encoder(encoder.config).activations(8, 150, precision) / SMALL.layers
    assert encoder.activations(8, 150, precision) == total


@pytest.mark.parametrize(("precision", "recompute"), [("fp32", False), ("bf16", True)])
def test_a_training_step_peaks_at_activations_weights_gradients_and_moments(
    precision: str, recompute: bool
) -> None:
    import torch
    from torch.distributed._tools.mem_tracker import MemTracker

    shape = Shape(layers=4, hidden_size=128, intermediate_size=192, heads=4, vocabulary=1000)
    encoder = Encoder(modernbert_config(shape), recompute)
    tracker: Any = MemTracker()
    with encoder._fake() as model:
        optimizer = torch.optim.AdamW(model.parameters())
        tracker.track_external(model, optimizer)
        with tracker:
            for _ in range(2):
                forward(model, 16, 200, precision).float().sum().backward()
                optimizer.step()
                optimizer.zero_grad()
                tracker.reset_mod_stats()
        peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    counted = 16 * encoder.parameters + encoder.activations(16, 200, precision)
    assert counted == pytest.approx(peak, rel=0.05)


def test_counting_the_largest_encoder_allocates_nothing() -> None:
    encoder = Encoder(modernbert_config(ETTIN_SHAPES["1b"]))
    # 34 to 38 bytes per token, layer and unit of width in 16 bits (Korthikanti et al., 2022), twice
    # as much in 32 bits: more memory than a GPU has.
    per_unit = encoder.activations(256, 252, "fp32") / (256 * 252 * 28 * 1792)
    assert 2 * 34 < per_unit < 2 * 38


def test_other_architectures_are_read_from_local_directories(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    encoder = Encoder(local_config(tmp_path))
    tokens, width, inner = 100, 384, 1536
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width
    assert encoder.flops(tokens) == pytest.approx(6 * layer + 2 * width**2)  # with BERT's pooler
    t5 = {"model_type": "t5", "num_layers": 2, "d_model": 32, "d_ff": 64, "num_heads": 4}
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "config.json").write_text(json.dumps(t5))
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "0", "type": "Transformer"}]))
    assert Encoder(local_config(tmp_path)).flops(10) > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: no such file; set local.encoder to a model's directory"),
        ("{", "not a valid JSON file"),
        ("{}", "model_type"),
        ('{"model_type": "abacus"}', "does not recognize this architecture"),
        ('{"model_type": "bert", "hidden_size": "wide"}', "Validation error"),
    ],
)
def test_unreadable_configurations_are_reported_in_one_line(
    content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        local_config(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_hub_id_other_than_ettins_has_no_known_shape() -> None:
    settings = load_settings()
    own = settings.encoders["ettin_17m"].model_copy(update={"source": "someone/encoder"})
    encoders = {**settings.encoders, "ettin_own": own}
    with pytest.raises(InputError, match="ettin_own: its shape is not known without a hub"):
        config_of(settings.model_copy(update={"model": "own", "encoders": encoders}))
