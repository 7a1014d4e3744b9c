"""Peak memory of an evaluation against the size of its corpus.

    python benchmarks/evaluation_memory.py 100000 1000000

Each size is a corpus in Parquet, made once in a temporary directory, that a process of its own
scores through mteb with a fake encoder of 384 dimensions: memory is that of reading, search and
scoring, without a model's. Prints peak resident memory, and its ratio to the first size's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

DIMENSIONS = 384
WORDS = 60
"""Words of a passage, about as many as in MS MARCO."""


class FakeEncoder:
    """Random vectors, the same for the same text."""

    def encode_document(self, texts: list[str], batch_size: int) -> npt.NDArray[np.float32]:
        """Shape (len(texts), DIMENSIONS), of length 1."""
        # Vectors of a whole shard from its first text: making them costs no memory of its own.
        seed = np.frombuffer(texts[0].encode()[:16].ljust(16), dtype=np.uint32)
        vectors = np.random.default_rng(seed).standard_normal((len(texts), DIMENSIONS), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    encode_query = encode_document


def write_collection(directory: Path, passages: int, queries: int) -> None:
    """A dataset directory, written without holding it in memory."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ettin_retrieval.records import CORPUS, QRELS, QUERIES, ROW_GROUP, sha256_file, write_json

    directory.mkdir(parents=True)
    generator = np.random.default_rng(0)
    vocabulary = np.array([f"word{i}" for i in range(5000)])
    with pq.ParquetWriter(directory / "corpus.parquet", CORPUS) as writer:
        for start in range(0, passages, ROW_GROUP):
            ids = [f"d{i}" for i in range(start, min(start + ROW_GROUP, passages))]
            words = vocabulary[generator.integers(0, 5000, size=(len(ids), WORDS))]
            texts = [f"{i} {' '.join(row)}" for i, row in zip(ids, words, strict=True)]
            writer.write_table(pa.table([ids, [""] * len(ids), texts], schema=CORPUS))
    asked = [f"q{i}" for i in range(queries)]
    frames = {
        "queries": (pd.DataFrame({"id": asked, "text": asked}), QUERIES),
        "qrels": (pd.DataFrame({"query_id": asked, "corpus_id": "d0", "score": 1}), QRELS),
    }
    for name, (frame, schema) in frames.items():
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        pq.write_table(table, directory / f"{name}.parquet")
    content = {"source": "random", "revision": "1", "licence": "CC0-1.0", "split": "test"}
    hashes = {path.name: sha256_file(path) for path in sorted(directory.glob("*.parquet"))}
    write_json(directory / "manifest.json", {**content, "notes": {}, "sha256": hashes})


def measure(directory: Path) -> dict[str, float]:
    """Score the collection in this process; peak resident memory in MiB, and seconds."""
    from ettin_retrieval.evaluation.benchmark import score_task
    from ettin_retrieval.evaluation.search import ExactSearch
    from ettin_retrieval.params import Evaluation
    from ettin_retrieval.records import open_dataset

    record = {"identity": "fake", "parameters": 0, "max_passage_length": 512}
    record |= {"embedding_dimension": DIMENSIONS, "normalize": True}
    search = ExactSearch(FakeEncoder(), record, "benchmark/fake", Evaluation())  # type: ignore[arg-type]
    before = _peak()
    start = time.perf_counter()
    score_task(search, "RandomPassages", open_dataset(directory))
    seconds = time.perf_counter() - start
    return {"before": before, "peak": _peak(), "seconds": seconds}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> int:
    """Measure each size in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("passages", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return 0
    print(f"{'passages':>10}{'before MiB':>12}{'peak MiB':>10}{'ratio':>8}{'seconds':>9}")
    first = None
    for passages in given.passages:
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "RandomPassages"
            write_collection(directory, passages, given.queries)
            command = [sys.executable, __file__, "--measure", str(directory)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found["peak"]
        print(
            f"{passages:>10,}{found['before']:>12.0f}{found['peak']:>10.0f}"
            f"{found['peak'] / first:>8.2f}{found['seconds']:>9.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
