"""How the memory of an evaluation and of mining grows with the corpus."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import mining, search
from benchmarks.fake import fake_dataset
from benchmarks.harness import Inputs, Runs, contest
from benchmarks.record import Figure, Section

INPUTS = {"documents": 100_000, "more_documents": 1_000_000, "dimensions": 384}
INPUTS |= {"evaluated_queries": 300, "mined_queries": 2_000}
PASSAGE = " ".join(["fifty more words make a passage as long as one of ms marco"] * 5)
NOTE = """\
Peak of the whole process, less the fake encoder's table of vectors. An evaluation leaves the corpus
on disk; mining reads it, and holds all vectors in its index."""


def measure(inputs: Inputs = INPUTS) -> Section:
    """Both stages on both sizes, each in a fresh process."""
    from ettin_retrieval.data.storage import write_dataset

    stages = {"evaluation": search.ours, "mining": mining.ours}
    queries = {"evaluation": inputs["evaluated_queries"], "mining": inputs["mined_queries"]}
    sizes = small, large = inputs["documents"], inputs["more_documents"]
    gib = {size: size * inputs["dimensions"] * 4 / 2**30 for size in sizes}
    runs: Runs = {}
    peaks = {}
    for name, stage in stages.items():
        for size in sizes:
            given = inputs | mining.NEGATIVES | {"documents": size, "queries": queries[name]}
            with TemporaryDirectory() as directory:
                write_dataset(fake_dataset(given, PASSAGE), Path(directory))
                (found,) = contest({name: stage}, given | {"directory": directory}, 1)[name]
            memory = {key: value for key, value in found.items() if "seconds" not in key}
            runs[f"{name}, {size:,} passages"] = [memory]
            peaks[name, size] = found["peak_mib"] / 1024 - gib[size]
    growth = peaks["evaluation", large] / peaks["evaluation", small]
    beside = peaks["mining", large] - gib[large]
    figures = [
        Figure(f"evaluation of {large:,} passages by that of {small:,}", [growth], 1.2, "times"),
        Figure(f"mining {large:,} passages, beside the index", [beside], unit="GiB"),
        Figure(f"index of {large:,} passages", [gib[large]], unit="GiB"),
    ]
    return Section("Memory", inputs, figures, runs, [NOTE])
