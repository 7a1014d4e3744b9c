"""Search and scoring: `mteb.evaluate` with our search, with mteb's own, and a bare top-k.

The encoder is fake, so that everything but the encoding is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.contest import Contest, Runs
from benchmarks.fake import FakeEncoder, fake_dataset, fake_encoder
from benchmarks.record import Ratio, Section, memory, speed
from benchmarks.worker import Job

SIZES = {"documents": 120_000, "queries": 300, "dimensions": 384}
REPETITIONS = 5
CONTENDERS = {
    "ours": "benchmarks.search:ours",
    "mteb": "benchmarks.search:mtebs_own",
    "bare top-k": "benchmarks.search:bare",
}
NAME = "FakeCollection"
TOP_K = 1000
"""What mteb asks of a search: its largest cut-off."""


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Run the contest."""
    with Contest(CONTENDERS) as contest:
        contest.warm_up(sizes | {"documents": 2_000, "queries": 10})
        contest.prepare(sizes)
        runs = contest.run(repetitions)
    return Section(
        "search",
        "Search and scoring",
        sizes,
        runs,
        [
            Ratio("evaluation, speed against mteb's own search", speed(runs, "ours", "mteb"), 5.0),
            Ratio(
                "evaluation, speed against a bare top-k", speed(runs, "ours", "bare top-k"), 1 / 1.3
            ),
            Ratio("evaluation against a bare top-k, if that were its search", at_the_most(runs)),
            Ratio("search alone, speed against a bare top-k", search_alone(runs), 1 / 1.3),
            Ratio("memory against mteb's own search", memory(runs, "ours", "mteb")),
        ],
        notes=[
            "Fake encoder. Ours and mteb are whole calls of `mteb.evaluate`, metrics included; "
            "the bare top-k calls the same encoder, and is one matrix product and `torch.topk` "
            f"with k = {TOP_K}, without ids, judgments or metrics. Search alone is our object's "
            "`search` within the evaluation. Within 1.3x of the bare top-k is a ratio of 0.77.",
            f"mteb's own metrics, and what else it does around a search, take "
            f"{_around_search(runs):.2f} s of an evaluation: with the bare top-k as its search it "
            "would be as fast as the third row says.",
            f"nDCG@10 of ours and of mteb's own search: {_scores(runs)}.",
        ],
    )


def search_alone(runs: Runs) -> list[float]:
    """Time of the bare top-k by that of our `search`."""
    return [
        bare["seconds"] / ours["search_seconds"]
        for ours, bare in zip(runs["ours"], runs["bare top-k"], strict=True)
    ]


def at_the_most(runs: Runs) -> list[float]:
    """Time of the bare top-k by that of an evaluation that searches with it."""
    return [
        bare["seconds"] / (bare["seconds"] + ours["seconds"] - ours["search_seconds"])
        for ours, bare in zip(runs["ours"], runs["bare top-k"], strict=True)
    ]


def _around_search(runs: Runs) -> float:
    return median(run["seconds"] - run["search_seconds"] for run in runs["ours"])


def _scores(runs: Runs) -> str:
    return " and ".join(f"{runs[name][-1]['ndcg_at_10']:.5f}" for name in ("ours", "mteb"))


def ours(inputs: dict[str, Any]) -> Job:
    """`ExactSearch` under `mteb.evaluate`."""
    from ettin_retrieval.evaluation.score import evaluated
    from ettin_retrieval.evaluation.search import ExactSearch

    encoder, dataset = _inputs(inputs)
    checkpoint = {
        "fingerprint": "0" * 64,
        "parameters": 1,
        "embedding_dimension": inputs["dimensions"],
        "normalize": True,
        "max_passage_length": 512,
    }

    def job() -> dict[str, Any]:
        model: Any = _OurEncoder(encoder)
        exact = ExactSearch(model, checkpoint)
        spent = [0.0]
        inner = exact.search

        def timed(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = inner(*given, **named)
            spent[0] += time.perf_counter() - start
            return found

        exact.search = timed  # type: ignore[method-assign]
        return _evaluate(exact, dataset, evaluated) | {"search_seconds": spent[0]}

    return job


def mtebs_own(inputs: dict[str, Any]) -> Job:
    """mteb's own search, as it wraps any encoder."""
    encoder, dataset = _inputs(inputs)

    def job() -> dict[str, Any]:
        return _evaluate(_MtebEncoder(encoder, inputs["dimensions"]), dataset)

    return job


def bare(inputs: dict[str, Any]) -> Job:
    """The least that any exact search has to do."""
    import torch

    encoder, dataset = _inputs(inputs)
    texts, queries = dataset.passage_texts(), dataset.queries["text"].tolist()

    def job() -> dict[str, Any]:
        start = time.perf_counter()
        documents = torch.from_numpy(encoder(texts, "passage"))
        asked = torch.from_numpy(encoder(queries, "query"))
        torch.topk(asked @ documents.T, min(TOP_K, len(documents)), dim=1)
        return {"seconds": time.perf_counter() - start}

    return job


def _inputs(inputs: dict[str, Any]) -> tuple[FakeEncoder, Any]:
    documents, queries = inputs["documents"], inputs["queries"]
    encoder = fake_encoder(documents, queries, inputs["dimensions"])
    return encoder, fake_dataset(documents, queries)


def _mtebs_evaluate(model: Any, task: Any) -> None:
    import mteb

    mteb.evaluate(
        model, [task], cache=None, show_progress_bar=False, encode_kwargs={}, raise_error=True
    )


def _evaluate(
    model: Any, dataset: Any, evaluate: Callable[[Any, Any], object] = _mtebs_evaluate
) -> dict[str, Any]:
    from ettin_retrieval.evaluation.tasks import task_for

    task = task_for(NAME, dataset)
    start = time.perf_counter()
    evaluate(model, task)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "ndcg_at_10": float(task.per_query["ndcg_at_10"].mean())}


class _OurEncoder:
    """The fake encoder in place of a SentenceTransformer."""

    def __init__(self, encoder: FakeEncoder) -> None:
        self.encoder = encoder

    def encode_query(self, texts: list[str], batch_size: int) -> Any:
        """Shape (len(texts), d)."""
        return self.encoder(texts, "query")

    def encode_document(self, texts: list[str], batch_size: int) -> Any:
        """Shape (len(texts), d)."""
        return self.encoder(texts, "passage")


class _MtebEncoder:
    """The fake encoder behind mteb's `EncoderProtocol`."""

    def __init__(self, encoder: FakeEncoder, dimensions: int) -> None:
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        self.encoder = encoder
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": "benchmarks/fake",
                "revision": "1",
                "embed_dim": dimensions,
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> np.ndarray[Any, Any]:
        """Vectors of a loader's texts."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self.encoder(texts, "query" if prompt_type.value == "query" else "passage")

    def similarity(self, one: Any, other: Any) -> Any:
        """Inner products: the vectors have length one."""
        import torch

        return torch.as_tensor(one) @ torch.as_tensor(other).T

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        """Inner product of each pair."""
        import torch

        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(dim=1)
