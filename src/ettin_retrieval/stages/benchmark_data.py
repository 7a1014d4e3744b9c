"""Stage benchmark_data: the configured tasks become RetrievalDatasets, one directory a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Settings
from ettin_retrieval.records import RetrievalDataset, replacing, write_dataset
from ettin_retrieval.sources.subsampling import subsampled
from ettin_retrieval.stages import Paths, run_stage


def load_tasks(settings: Settings, beir_directory: Path) -> Iterable[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time.

    Raises
    ------
    InputError
        A task that the source does not have.
    """
    source, wanted = settings.benchmark_source, settings.evaluation.tasks
    if source == "mteb":
        from ettin_retrieval.sources import mteb_tasks

        return mteb_tasks.load(_mteb_names(wanted))
    if source == "synthetic":
        from ettin_retrieval.sources import synthetic

        tasks = synthetic.benchmark()
        names = _selected(sorted(tasks), wanted, "the synthetic benchmark")
        return [(name, tasks[name]) for name in names]
    return _beir_tasks(beir_directory, wanted)


def _mteb_names(wanted: list[str] | str) -> tuple[str, ...] | list[str]:
    """Names of mteb's tasks.

    >>> len(_mteb_names("auto")), len(_mteb_names("eng-v2")), _mteb_names(["SciFact"])
    (15, 10, ['SciFact'])
    """
    from ettin_retrieval.sources.mteb_tasks import GUIDE_TASKS, TIERS

    return TIERS.get(wanted, GUIDE_TASKS) if isinstance(wanted, str) else wanted


def _beir_tasks(directory: Path, wanted: list[str] | str) -> Iterator[tuple[str, RetrievalDataset]]:
    """A BEIR directory, or each BEIR directory in a directory, by the judgments of its task."""
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.mteb_tasks import task_of_directory

    found: dict[str, tuple[Path, str]] = {}
    for collection in beir.collections(directory, "local.benchmark"):
        name, split = task_of_directory(collection)
        if name in found:
            raise InputError(
                f"local.benchmark: {found[name][0]} and {collection} are both the task {name}; "
                "leave one of the two"
            )
        found[name] = collection, split
    for name in _selected(sorted(found), wanted, str(directory)):
        yield name, beir.load(*found[name])


def _selected(there: list[str], wanted: list[str] | str, where: str) -> list[str]:
    if isinstance(wanted, str):  # auto or smoke
        return there
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"params.yaml: evaluation.tasks: {missing[0]!r} is not in {where}; "
            f"there are {', '.join(there)}"
        )
    return sorted(wanted)


def body(settings: Settings, paths: Paths) -> str:
    """Write one directory a task below the output directory."""
    told = []
    with replacing(paths["benchmark"]) as directory:
        for full, whole in load_tasks(settings, paths["local"]):
            name, dataset = subsampled(full, whole, settings.data.max_corpus_size)
            write_dataset(dataset, directory / name)
            told.append(f"{name}: {len(dataset.queries):,} queries over {len(dataset.corpus):,}")
    return ", ".join(told)


if __name__ == "__main__":
    run_stage("benchmark_data", body, reads=["local"], writes=["benchmark"])
