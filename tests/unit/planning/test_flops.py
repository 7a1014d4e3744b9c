"""Counted FLOPs and activations against formulas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.planning.flops import (
    ETTIN_SHAPES,
    Encoder,
    config_of,
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


@cache
def small(recompute: bool = False) -> Encoder:
    """An encoder that is counted once for all tests."""
    return Encoder(modernbert_config(SMALL), recompute)


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
    assert small().flops(tokens) == pytest.approx(formula(SMALL, tokens), rel=1e-9)


def test_a_training_step_is_three_forward_passes_and_a_recomputing_one_is_four() -> None:
    for recompute, passes in ((False, 3), (True, 4)):
        assert small(recompute).step(100) == pytest.approx(passes * formula(SMALL, 100))


@pytest.mark.parametrize(("name", "millions"), [("17m", 17), ("150m", 149), ("1b", 1028)])
def test_shapes_have_the_parameters_of_their_names(name: str, millions: int) -> None:
    encoder = Encoder(modernbert_config(ETTIN_SHAPES[name]))
    assert round(encoder.parameters / 1e6) == millions


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
