"""Stage heldout: what training is decontaminated against, whichever tasks a run scores.

It does not depend on `evaluation.tasks` and `data.max_corpus_size`, so that a checkpoint can be
scored on other tasks later and stays what it is. All tasks are there whole.
"""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.data.heldout import write_heldout
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.benchmark_data import tasks_of_source
from ettin_retrieval.tasks import BENCHMARK_TASKS

KEY = "data.heldout"


def wanted(settings: Settings) -> list[str] | str:
    """The tasks of the list: names, or a tier; `auto` of mteb is those of both benchmarks."""
    setting = settings.data.heldout
    both = setting == "auto" and settings.heldout_source == "mteb"
    return list(BENCHMARK_TASKS) if both else setting


def run(settings: Settings, paths: Paths) -> str:
    """Write the list of the setting `data.heldout`."""
    source, directory = settings.heldout_source, Path(settings.local.benchmark)
    tasks = tasks_of_source(source, wanted(settings), directory, key=KEY)
    with replacing(paths["heldout"]) as output:
        manifest = write_heldout(tasks, settings.data.heldout, output)
    counts = manifest["tasks"].values()
    return (
        f"{len(counts)} tasks, {sum(c['queries'] for c in counts):,} queries and "
        f"{sum(c['relevant'] for c in counts):,} relevant of "
        f"{sum(c['passages'] for c in counts):,} passages, sha256 {manifest['sha256'][:12]}"
    )


if __name__ == "__main__":
    run_stage("heldout", run, writes=["heldout"])
