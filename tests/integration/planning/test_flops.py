"""Counted FLOPs and activations against real models and torch's memory tracker."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from ettin_retrieval.planning.flops import Encoder, build, forward, modernbert_config
from ettin_retrieval.settings.sections import Shape

SMALL = Shape(layers=4, hidden_size=32, intermediate_size=48, heads=2, vocabulary=128)


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
