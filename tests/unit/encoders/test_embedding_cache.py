"""The key of cached embeddings covers everything that decides them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ettin_retrieval.encoders import embedding_cache
from ettin_retrieval.encoders.embedding_cache import EmbeddingCache
from ettin_retrieval.runtime import determinism


def test_another_encoder_text_or_reading_has_another_key(tmp_path: Path) -> None:
    cache = EmbeddingCache("a", tmp_path)
    paths = {
        cache.path(["x", "y"], "passage", "fp32", "prompt", 64),
        cache.path(["xy"], "passage", "fp32", "prompt", 64),
        cache.path(["y", "x"], "passage", "fp32", "prompt", 64),
        cache.path(["x", "y"], "query", "fp32", "prompt", 64),
        cache.path(["x", "y"], "passage", "bf16", "prompt", 64),
        cache.path(["x", "y"], "passage", "fp32", None, 64),
        cache.path(["x", "y"], "passage", "fp32", "prompt", 32),
        EmbeddingCache("b", tmp_path).path(["x", "y"], "passage", "fp32", "prompt", 64),
    }
    assert len(paths) == 8


@pytest.mark.parametrize("changed", ["libraries", "pinned", "threads", "device", "code"])
def test_what_computes_embeddings_is_part_of_the_key(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EmbeddingCache("a", tmp_path)
    before = cache.path(["x"], "passage")
    assert cache.path(["x"], "passage") == before
    if changed == "libraries":
        monkeypatch.setattr(determinism, "version", lambda name: f"another {name}")
    elif changed == "pinned":
        value = "default" if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2" else "avx2"
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", value)
    elif changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif changed == "device":
        gpu = torch.device("cuda")
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    else:
        monkeypatch.setattr(embedding_cache, "code_digest", lambda *packages: f"other {packages}")
    assert cache.path(["x"], "passage") != before
