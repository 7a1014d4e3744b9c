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
from typing import Any

import numpy as np
import numpy.typing as npt

# As a script, its own directory is where Python looks first.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contest import Runs
from benchmarks.record import Figure, Section

DIMENSIONS = 384
SIZES = {"passages": 100_000, "more_passages": 1_000_000, "queries": 300}
REPETITIONS = 1
BOUND = 1.2
"""Times the memory at the smaller size that the larger one may take."""

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

    from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, ROW_GROUP
    from ettin_retrieval.runtime.files import sha256_file, write_json

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


def score(directory: Path) -> dict[str, float]:
    """Score the collection in this process; peak resident memory in MiB, and seconds."""
    from ettin_retrieval.data.storage import open_dataset
    from ettin_retrieval.evaluation.score import score_task
    from ettin_retrieval.evaluation.search import ExactSearch

    record = {"fingerprint": "fake", "parameters": 0, "max_passage_length": 512}
    record |= {"embedding_dimension": DIMENSIONS, "normalize": True}
    search = ExactSearch(FakeEncoder(), record)  # type: ignore[arg-type]
    before = _peak()
    start = time.perf_counter()
    score_task(search, "RandomPassages", open_dataset(directory))
    seconds = time.perf_counter() - start
    return {"before": before, "peak_mib": _peak(), "seconds": seconds}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Peak memory at both sizes, the larger against the smaller."""
    small, large = sizes["passages"], sizes["more_passages"]
    runs: Runs = {
        f"{passages:,} passages": [in_process(passages, sizes["queries"])]
        for passages in (small, large)
    }
    peaks = [found[0]["peak_mib"] for found in runs.values()]
    figure = Figure(f"peak memory at {large:,} passages", peaks[1] / peaks[0], "times", BOUND)
    return Section(
        "evaluation_memory",
        "Memory of an evaluation",
        sizes,
        runs,
        figures=[figure],
        notes=[
            f"A corpus in Parquet, a fake encoder of {DIMENSIONS} dimensions, `score_task`; once, "
            f"against the peak at {small:,} passages."
        ],
    )


def in_process(passages: int, queries: int) -> dict[str, float]:
    """What `score` finds in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "RandomPassages"
        write_collection(directory, passages, queries)
        command = [sys.executable, __file__, "--measure", str(directory)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure each size in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("passages", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(score(given.measure)))
        return 0
    print(f"{'passages':>10}{'before MiB':>12}{'peak MiB':>10}{'ratio':>8}{'seconds':>9}")
    first = None
    for passages in given.passages:
        found = in_process(passages, given.queries)
        first = first or found["peak_mib"]
        print(
            f"{passages:>10,}{found['before']:>12.0f}{found['peak_mib']:>10.0f}"
            f"{found['peak_mib'] / first:>8.2f}{found['seconds']:>9.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
