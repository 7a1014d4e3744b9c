"""Mining hard negatives: `mine` against the guide's loop and sentence-transformers' function."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fake import FakeEncoder, fake_dataset
from benchmarks.harness import ROOT, Contender, Inputs, Job, Run, contest
from benchmarks.record import Figure, Section, memory_ratio, ratios

NEGATIVES = {"range_max": 100, "num_negatives": 7}
INPUTS = {"documents": 100_000, "queries": 1_000, "dimensions": 384, **NEGATIVES}
WARM_UP = {"documents": 2_000, "queries": 10}
NOTE = "Fake encoder. Memory is on top of the collection and of the encoder's table of vectors."


def measure(inputs: Inputs = INPUTS, repetitions: int = 3) -> Section:
    """From the collection as it was read to the negatives of every query."""
    runs = contest(CONTENDERS, inputs, repetitions, WARM_UP)
    peers = [name for name in CONTENDERS if name != "ours"]
    goals = dict(zip(peers, (20.0, 1.0, 1.0), strict=True))
    speeds = [Figure(f"speed against {p}", ratios(runs, "ours", p), goals[p]) for p in peers]
    memory = [Figure(f"memory against {p}", memory_ratio(runs, "ours", p), 1.0) for p in peers]
    return Section("Mining hard negatives", inputs, speeds + memory, runs, [NOTE])


def ours(inputs: Inputs) -> Job:
    """`mine` with the settings of params.yaml, over the dataset in `directory` if there is one."""
    from ettin_retrieval.data.storage import read_dataset
    from ettin_retrieval.mining.mine import mine
    from ettin_retrieval.settings.load import load_settings

    changes = {f"negatives.{key}": inputs[key] for key in NEGATIVES}
    settings = load_settings(ROOT / "params.yaml").with_changes(changes)
    encoder: Any = FakeEncoder(inputs)
    directory = inputs.get("directory")
    dataset = read_dataset(Path(directory)) if directory else fake_dataset(inputs)
    return lambda: {"pairs": len(mine(dataset, encoder, settings)[0])}


def guides_loop(inputs: Inputs) -> Job:
    """Query by query over an IndexFlatIP, as the guide's hard_negative_mining.py does it."""
    import faiss

    encoder, dataset = FakeEncoder(inputs), fake_dataset(inputs)

    def job() -> Run:
        corpus = dataset.passage_texts()
        rows = {corpus_id: row for row, corpus_id in enumerate(dataset.corpus["id"].tolist())}
        queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
        relevant = {q: {rows[p] for p in found} for q, found in dataset.positives().items()}
        vectors = encoder.encode_document(corpus)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        mined = {}
        for query_id, query in queries.items():
            _, found = index.search(encoder.encode_query([query]), inputs["range_max"])
            allowed = [corpus[row] for row in found[0] if row not in relevant[query_id]]
            mined[query_id] = allowed[: inputs["num_negatives"]]
        return {"pairs": len(mined)}

    return job


def sentence_transformers(inputs: Inputs, use_faiss: bool) -> Job:
    """`mine_hard_negatives` with the similarity that is sentence-transformers' default."""
    from datasets import Dataset
    from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

    class Encoder(FakeEncoder):
        similarity = staticmethod(cos_sim)
        similarity_pairwise = staticmethod(pairwise_cos_sim)

        def get_embedding_dimension(self) -> int:
            return int(inputs["dimensions"])

    encoder: Any = Encoder(inputs)
    dataset = fake_dataset(inputs)

    def job() -> Run:
        corpus = dataset.passage_texts()
        passages = dict(zip(dataset.corpus["id"].tolist(), corpus, strict=True))
        queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
        judged = [(queries[q], passages[p]) for q, own in dataset.positives().items() for p in own]
        rows = {"query": [query for query, _ in judged], "positive": [text for _, text in judged]}
        options: Any = {key: inputs[key] for key in NEGATIVES} | {"use_faiss": use_faiss}
        options |= {"corpus": corpus, "output_format": "n-tuple", "verbose": False}
        return {"pairs": len(mine_hard_negatives(Dataset.from_dict(rows), encoder, **options))}

    return job


CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "guide's loop": guides_loop,
    "mine_hard_negatives": partial(sentence_transformers, use_faiss=False),
    "mine_hard_negatives, use_faiss": partial(sentence_transformers, use_faiss=True),
}
