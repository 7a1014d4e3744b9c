"""Mining hard negatives: ours, the guide's loop, and sentence-transformers' own function.

The encoder is fake, so that everything but the encoding is timed.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contest import ROOT, Contest
from benchmarks.fake import FakeEncoder, fake_dataset, fake_encoder, our_encode
from benchmarks.record import Ratio, Section, memory, speed
from benchmarks.worker import Job

SIZES = {"documents": 100_000, "queries": 1_000, "dimensions": 384, "top_k": 100, "negatives": 7}
REPETITIONS = 3
PLAIN, FAISS = "mine_hard_negatives", "mine_hard_negatives, use_faiss"
CONTENDERS = {
    "ours": "benchmarks.mining:ours",
    "guide's loop": "benchmarks.mining:guides_loop",
    PLAIN: "benchmarks.mining:sentence_transformers",
    FAISS: "benchmarks.mining:sentence_transformers_faiss",
}


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Run the contest."""
    with Contest(CONTENDERS) as contest:
        contest.warm_up(sizes | {"documents": 2_000, "queries": 10})
        contest.prepare(sizes)
        runs = contest.run(repetitions)
    return Section(
        "mining",
        "Mining hard negatives",
        sizes,
        runs,
        [
            Ratio("speed against the guide's loop", speed(runs, "ours", "guide's loop"), 20.0),
            Ratio(f"speed against {PLAIN}", speed(runs, "ours", PLAIN), 1.0),
            Ratio(f"speed against {FAISS}", speed(runs, "ours", FAISS), 1.0),
            Ratio("memory against the guide's loop", memory(runs, "ours", "guide's loop"), 1.0),
            Ratio(f"memory against {PLAIN}", memory(runs, "ours", PLAIN), 1.0),
            Ratio(f"memory against {FAISS}", memory(runs, "ours", FAISS), 1.0),
        ],
        notes=[
            "Fake encoder. Every contender starts from the collection as it was read, and makes of "
            "it what it needs. Memory is what the work needs on top of the collection and of the "
            "encoder's own table of vectors.",
        ],
    )


def ours(inputs: dict[str, Any]) -> Job:
    """`negatives.mine` with the settings of params.yaml."""
    from ettin_retrieval.mining import candidates as negatives
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.settings.schema import Settings

    encoder, dataset = _inputs(inputs)
    negatives.encode = our_encode(encoder)
    content = load_settings(ROOT / "params.yaml").model_dump()
    content["negatives"] |= {"per_query": inputs["negatives"], "top_k": inputs["top_k"]}
    settings = Settings.model_validate(content)
    model: Any = object()

    def job() -> dict[str, Any]:
        start = time.perf_counter()
        pairs, _ = negatives.mine(dataset, model, settings)
        return {"seconds": time.perf_counter() - start, "pairs": len(pairs)}

    return job


def guides_loop(inputs: dict[str, Any]) -> Job:
    """Query by query over an IndexFlatIP, as the guide's hard_negative_mining.py does it."""
    import faiss

    encoder, dataset = _inputs(inputs)

    def job() -> dict[str, Any]:
        start = time.perf_counter()
        corpus = dataset.passage_texts()
        ids = {corpus_id: row for row, corpus_id in enumerate(dataset.corpus["id"].tolist())}
        queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
        relevant = {q: {ids[p] for p in found} for q, found in dataset.positives().items()}
        vectors = encoder(corpus, "passage")
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        mined = {}
        for query_id, query in queries.items():
            _, rows = index.search(encoder([query], "query"), inputs["top_k"])
            allowed = [corpus[row] for row in rows[0] if row not in relevant[query_id]]
            mined[query_id] = allowed[: inputs["negatives"]]
        return {"seconds": time.perf_counter() - start, "pairs": len(mined)}

    return job


def sentence_transformers(inputs: dict[str, Any]) -> Job:
    """`mine_hard_negatives` as it comes."""
    return _mine_hard_negatives(inputs, use_faiss=False)


def sentence_transformers_faiss(inputs: dict[str, Any]) -> Job:
    """`mine_hard_negatives` with FAISS."""
    return _mine_hard_negatives(inputs, use_faiss=True)


def _mine_hard_negatives(inputs: dict[str, Any], use_faiss: bool) -> Job:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    encoder, dataset = _inputs(inputs)
    model: Any = _SentenceTransformer(encoder)

    def job() -> dict[str, Any]:
        start = time.perf_counter()
        corpus = dataset.passage_texts()
        passages = dict(zip(dataset.corpus["id"].tolist(), corpus, strict=True))
        queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
        rows = [(queries[q], passages[p]) for q, own in dataset.positives().items() for p in own]
        pairs = Dataset.from_dict({"query": [q for q, _ in rows], "positive": [p for _, p in rows]})
        mined = mine_hard_negatives(
            pairs,
            model,
            corpus=corpus,
            range_max=inputs["top_k"],
            num_negatives=inputs["negatives"],
            output_format="n-tuple",
            use_faiss=use_faiss,
            verbose=False,
        )
        return {"seconds": time.perf_counter() - start, "pairs": len(mined)}

    return job


def _inputs(inputs: dict[str, Any]) -> tuple[FakeEncoder, Any]:
    documents, queries = inputs["documents"], inputs["queries"]
    encoder = fake_encoder(documents, queries, inputs["dimensions"])
    return encoder, fake_dataset(documents, queries)


class _SentenceTransformer:
    """What `mine_hard_negatives` asks of a SentenceTransformer."""

    device = "cpu"

    def __init__(self, encoder: FakeEncoder) -> None:
        self.encoder = encoder

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return int(self.encoder.documents.shape[1])

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        """Vectors of passages."""
        return self.encoder(texts, "passage")

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        """Vectors of queries."""
        return self.encoder(texts, "query")

    def similarity(self, one: Any, other: Any) -> Any:
        """sentence-transformers' own default."""
        from sentence_transformers.util import cos_sim

        return cos_sim(one, other)

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        """The same for pairs."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(one, other)
