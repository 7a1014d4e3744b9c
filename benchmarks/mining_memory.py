"""Peak memory of mining hard negatives, beside the index that holds the embeddings.

    python benchmarks/mining_memory.py --passages 100000 1000000

mines with an encoder that gives random vectors, each size in a process of its own, and prints a
line of JSON for each. Everything but the vectors in the index counts: the interpreter, libraries,
texts, identifiers, judgments and results.
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
import pandas as pd

from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.mining.mine import mine
from ettin_retrieval.settings.load import load_settings

GIB = 2**30
WORDS = " ".join(["fifty more words make a passage as long as one of ms marco"] * 5)


class RandomEncoder:
    """Unit vectors that depend on the first text of a call and on nothing else."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        """Shape (len(texts), dimensions), float32."""
        import torch

        random = np.random.default_rng(int(texts[0].split()[1]))
        vectors = random.standard_normal((len(texts), self.dimensions), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return torch.from_numpy(vectors)

    encode_query = encode_document


def collection(passages: int, queries: int) -> RetrievalDataset:
    """Passages of some 300 characters, and one positive for each query."""
    numbers = pd.Series(range(passages)).astype(str)
    query_numbers = numbers[:queries]
    return RetrievalDataset(
        corpus=pd.DataFrame(
            {"id": "d" + numbers, "title": "", "text": "passage " + numbers + " " + WORDS}
        ),
        queries=pd.DataFrame({"id": "q" + query_numbers, "text": "query " + query_numbers}),
        qrels=pd.DataFrame(
            {"query_id": "q" + query_numbers, "corpus_id": "d" + query_numbers, "score": 1}
        ),
        origin=Origin("random", "1", "CC0-1.0", "train"),
    )


def measure(directory: Path, dimensions: int, params: Path) -> dict[str, Any]:
    """Mine the collection of a directory in this process."""
    dataset = read_dataset(directory)
    model: Any = RandomEncoder(dimensions)
    start = time.perf_counter()
    pairs, _ = mine(dataset, model, load_settings(params))
    seconds = time.perf_counter() - start
    index = len(dataset.corpus) * dimensions * 4
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "passages": len(dataset.corpus),
        "queries": len(dataset.queries),
        "dimensions": dimensions,
        "pairs": len(pairs),
        "seconds": round(seconds, 1),
        "index_gib": round(index / GIB, 3),
        "peak_gib": round(peak / GIB, 3),
        "above_index_gib": round((peak - index) / GIB, 3),
    }


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments.dimensions, arguments.params)))
        return
    for passages in arguments.passages:
        with tempfile.TemporaryDirectory() as directory:
            write_dataset(collection(passages, arguments.queries), Path(directory))
            command = [sys.executable, __file__, "--measure", directory]
            command += ["--dimensions", str(arguments.dimensions)]
            subprocess.run([*command, "--params", str(arguments.params)], check=True)


if __name__ == "__main__":
    main()
