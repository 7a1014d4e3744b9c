"""Stage benchmark_data: the tasks to evaluate on as RetrievalDatasets, one directory per task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.subsampling import subsampled


def load_tasks(settings: Settings) -> Iterable[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time.

    Raises
    ------
    InputError
        The source does not have a task.
    """
    source, wanted = settings.benchmark_source, settings.evaluation.tasks
    if source == "mteb":
        from ettin_retrieval.sources import mteb
        from ettin_retrieval.tasks import mteb_names

        return mteb.load(mteb_names(wanted))
    if source == "tiny":
        from ettin_retrieval.sources import tiny

        tasks = tiny.benchmark()
        names = _selected(sorted(tasks), wanted, "the tiny benchmark")
        return [(name, tasks[name]) for name in names]
    return _beir_tasks(Path(settings.local.benchmark), wanted)


def _beir_tasks(directory: Path, wanted: list[str] | str) -> Iterator[tuple[str, RetrievalDataset]]:
    """The tasks of a BEIR directory, or of a directory of them."""
    from ettin_retrieval.sources import beir
    from ettin_retrieval.tasks import task_of_directory

    found: dict[str, tuple[Path, str]] = {}
    for collection in beir.collections(directory, "local.benchmark"):
        name, split = task_of_directory(collection)
        if name in found:
            raise InputError(
                f"local.benchmark: {found[name][0]} and {collection} are both the task {name}; "
                "remove one of the two"
            )
        found[name] = collection, split
    for name in _selected(sorted(found), wanted, str(directory)):
        yield name, beir.load(*found[name])


def _selected(available: list[str], wanted: list[str] | str, where: str) -> list[str]:
    if isinstance(wanted, str):  # a tier
        return available
    missing = [name for name in wanted if name not in available]
    if missing:
        raise InputError(
            f"params.yaml: evaluation.tasks: {missing[0]!r} is not in {where}; there are "
            f"{', '.join(available)}"
        )
    return sorted(wanted)


def write_benchmark(settings: Settings, output: Path) -> str:
    """Write one directory per task.

    Returns
    -------
    What was written, for the log.
    """
    summary = []
    with replacing(output) as directory:
        for full_name, full in load_tasks(settings):
            name, dataset = subsampled(full_name, full, settings.data.max_corpus_size)
            write_dataset(dataset, directory / name)
            summary.append(f"{name}: {len(dataset.queries):,} queries over {len(dataset.corpus):,}")
    return ", ".join(summary)


def run(settings: Settings, paths: Paths) -> str:
    """Write the tasks of the configured benchmark."""
    return write_benchmark(settings, paths["benchmark"])


if __name__ == "__main__":
    run_stage("benchmark_data", run, writes=["benchmark"])
