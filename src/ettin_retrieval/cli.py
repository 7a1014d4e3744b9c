"""The command `ettin-retrieval`: what is asked of results, beside the pipeline that makes them.

Modules that take long to import are imported by the command that needs them, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ettin_retrieval.runtime.errors import InputError

if TYPE_CHECKING:
    from ettin_retrieval.ledger.entry import Entry
    from ettin_retrieval.reports.significance import Family, SeedSpread

Command = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    0; or 1 where a check failed, or the user made a mistake, told in one line on stderr.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # Libraries' notices about their own future are no business of the user's.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    command: Command = given.command
    try:
        return command(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ettin-retrieval", description="Compare, check, collect and export results; sweep."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Command, told: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=told, description=told)
        sub.set_defaults(command=command)
        return sub

    _add_compare(add("compare", _compare, "Test whether B scores differently from A, per task."))
    _add_verify(
        add("verify", _verify, "Check the ledger against its index, dvc.lock and recorded scores.")
    )
    _add_calibrate(
        add("calibrate", _calibrate, "Check the evaluation against a model's published score.")
    )
    _add_bm25(add("bm25", _bm25, "Score BM25 on the benchmark's tasks, into the ledger."))
    _add_collect(add("collect", _collect, "Bring experiments' ledger entries into this tree."))
    _add_leaderboard(
        add("export-leaderboard", _leaderboard, "Write results as MTEB's results repository does.")
    )
    _add_sweep(add("sweep", _sweep, "Pick a learning rate on the development split."))
    _add_trec(add("export-trec", _trec, "Write retrieved passages as TREC run files."))
    _add_plan(add("plan", _plan, "Say what a run will cost, before it is started."))
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="entry, such as tiny/base-seed42")
    parser.add_argument("b", metavar="B", help="entry, such as tiny/finetuned-guide-seed42")
    _add_ledger(parser)
    _add_expected(parser)
    parser.add_argument("--metric", choices=["ndcg_at_10", "mrr_at_10"], default="ndcg_at_10")
    parser.add_argument("--seed", type=int, default=42, help="of the resampling (default: 42)")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_ledger(parser)
    _add_expected(parser)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, help="hub id, directory of a published model, or bm25"
    )
    parser.add_argument(
        "--as", dest="published_as", metavar="HUB_ID", help="which model the directory holds"
    )
    parser.add_argument("--task", required=True, help="mteb's name, such as SciFact")
    parser.add_argument(
        "--beir", type=Path, metavar="DIR", help="the task's data (default: from the hub)"
    )
    parser.add_argument(
        "--expected", type=Path, default=Path("expected/calibration.yaml"), metavar="FILE"
    )


def _add_bm25(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--benchmark", type=Path, default=Path("data/benchmark"), metavar="DIR",
        help="what the stage benchmark_data wrote (default: %(default)s)",
    )  # fmt: skip
    _add_ledger(parser)


def _add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "revisions",
        metavar="REV",
        nargs="*",
        help="experiment, branch, tag or commit (default: all experiments)",
    )


def _add_leaderboard(parser: argparse.ArgumentParser) -> None:
    _add_scores(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--name", metavar="ORG/MODEL", help="(default: made from the checkpoint's identity)"
    )


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", required=True, metavar="R1,R2,...", help="such as 1e-5,2e-5")
    parser.add_argument(
        "--queries", type=int, metavar="N", help="train on this many (default: all)"
    )
    for name, there in (
        ("training", "data/training"),
        ("negatives", "data/negatives"),
        ("encoder", "models/base"),
        ("output", "studies/sweeps"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=Path(there), metavar="DIR")


def _add_trec(parser: argparse.ArgumentParser) -> None:
    _add_scores(parser)
    parser.add_argument(
        "--benchmark", type=Path, metavar="DIR", help="write the judgments of these tasks too"
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--model", help="another than params.yaml's, such as 1b")
    parser.add_argument(
        "--tasks", metavar="TIER|NAME,...", help="other than params.yaml's, such as eng-v2"
    )
    parser.add_argument("--gpu", default="H100", help="such as A100 or L4 (default: H100)")


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")


def _add_expected(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expected", type=Path, default=Path("expected"), metavar="DIR",
        help="expected scores, and which tasks a benchmark has (default: %(default)s)",
    )  # fmt: skip


def _add_scores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores", type=Path, required=True, metavar="DIR", help="such as data/scores/finetuned"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def _compare(given: argparse.Namespace) -> int:
    from ettin_retrieval.ledger.store import read_ledger, read_queries
    from ettin_retrieval.reports.references import read_references
    from ettin_retrieval.reports.significance import compare_benchmarks, seed_spread

    ledger = read_ledger(given.results)
    names = (given.a, given.b)
    entries = [_entry(ledger, name, given.results) for name in names]
    frames = [read_queries(given.results, entry) for entry in entries]
    scored = [set(frame["task"]) for frame in frames]
    shared = scored[0] & scored[1]
    if not shared:
        raise InputError(f"{given.a} and {given.b} have no task in common")
    left, right = (frame[frame["task"].isin(shared)] for frame in frames)
    benchmarks = read_references(given.expected).benchmarks
    print(f"A = {given.a}, B = {given.b}; {given.metric} in points")
    for family in compare_benchmarks(left, right, benchmarks, given.metric, given.seed):
        print(_comparison_table(family))
    for name, tasks in zip("AB", scored, strict=True):
        if tasks - shared:
            print(f"left out, scored by {name} alone: {', '.join(sorted(tasks - shared))}")
    for entry in {entry.name: entry for entry in entries}.values():
        seeds = [other for other in ledger if _is_another_seed(other, entry)]
        if len(seeds) > 1:
            spread = seed_spread([read_queries(given.results, e) for e in seeds], given.metric)
            print(_seed_table(f"{entry.model}/{entry.arm}", seeds, spread))
    return 0


def _entry(ledger: list[Entry], name: str, directory: Path) -> Entry:
    for entry in ledger:
        if entry.name == name:
            return entry
    there = ", ".join(entry.name for entry in ledger) or "no entries"
    raise InputError(f"{directory}: no entry {name}; there are {there}")


def _is_another_seed(other: Entry, entry: Entry) -> bool:
    """Whether two entries differ in the seed alone, or not at all."""
    return (other.model, other.arm) == (entry.model, entry.arm) and other.tasks == entry.tasks


def _comparison_table(family: Family) -> str:
    """Differences of a family as text, in points."""
    from ettin_retrieval.reports.documents import p_text
    from ettin_retrieval.reports.significance import RESAMPLES

    rows = [
        ["task", "queries", "A", "B", "B - A", "95% interval", "p", "Holm p", "B wins/loses/ties"]
    ]
    for task in [*family.tasks, *([family.average] if family.average else [])]:
        interval = (
            "one query"
            if task.interval is None
            else (f"{100 * task.interval[0]:+.2f} to {100 * task.interval[1]:+.2f}")
        )
        rows.append(
            [
                task.task,
                f"{task.queries:,}",
                f"{100 * task.base:.1f}",
                f"{100 * task.other:.1f}",
                f"{100 * task.difference:+.2f}",
                interval,
                p_text(task.p_value, task.at_floor),
                p_text(task.holm_p_value, task.at_floor),
                f"{task.wins}/{task.losses}/{task.ties}",
            ]
        )
    return "\n".join(
        [
            f"\n{family.name or 'tasks of no benchmark'}",
            *_aligned(rows),
            "interval: bootstrap over queries; p: two-sided paired randomisation test, "
            f"{RESAMPLES:,} draws at most; Holm p: corrected for {len(family.tasks)} tasks",
        ]
    )


def _seed_table(name: str, seeds: list[Entry], tasks: list[SeedSpread]) -> str:
    """Mean and standard deviation over seeds as text, in points."""
    rows = [["task", "mean", "standard deviation"]]
    for task in tasks:
        deviation = (
            "-" if task.standard_deviation is None else (f"{100 * task.standard_deviation:.2f}")
        )
        rows.append([task.task, f"{100 * task.mean:.1f}", deviation])
    numbers = ", ".join(str(entry.seed) for entry in seeds)
    return "\n".join([f"\n{name} over the seeds {numbers}, in points", *_aligned(rows)])


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right.

    >>> _aligned([["a", "bb"], ["ccc", "d"]])
    ['a    bb', 'ccc   d']
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]


def _verify(given: argparse.Namespace) -> int:
    from ettin_retrieval.ledger.integrity import problems
    from ettin_retrieval.reports.verify import verify

    found = problems(given.results)
    for problem in found:
        print(problem)
    return max(verify(given.results, given.expected), int(bool(found)))


def _calibrate(given: argparse.Namespace) -> int:
    from ettin_retrieval.interop.calibration import calibrate, render

    verdicts, dataset = calibrate(
        given.expected, given.model, given.task, given.beir, given.published_as
    )
    print(render(verdicts, dataset))
    return 0 if all(verdict.reproduces for verdict in verdicts) else 1


def _bm25(given: argparse.Namespace) -> int:
    from ettin_retrieval.interop.bm25 import record_bm25

    logging.getLogger("ettin_retrieval").setLevel(logging.INFO)
    entry = record_bm25(given.benchmark, given.results)
    print(f"{given.results / entry.name}.json: {len(entry.tasks)} tasks; run `dvc repro tables`")
    return 0


def _collect(given: argparse.Namespace) -> int:
    from ettin_retrieval.ledger.collect import collect

    collected = collect(Path.cwd(), given.revisions)
    for name in collected.written:
        print(f"collected {name}")
    for conflict in collected.conflicts:
        print(conflict, file=sys.stderr)
    print(
        f"{len(collected.written)} collected, {len(collected.present)} there already, "
        f"{len({conflict.key for conflict in collected.conflicts})} in conflict"
    )
    if collected.conflicts:
        print(
            "error: entries of one key have different numbers and were left as they are; to take "
            "an experiment's, remove the file and name the experiment: ettin-retrieval collect REV",
            file=sys.stderr,
        )
    return 1 if collected.conflicts else 0


def _leaderboard(given: argparse.Namespace) -> int:
    from ettin_retrieval.interop.leaderboard import export_leaderboard, foreign_data

    written = export_leaderboard(given.scores, given.checkpoint, given.out, given.name)
    for line in foreign_data(written):
        print(line)
    print(written)
    return 0


def _sweep(given: argparse.Namespace) -> int:
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.studies.sweep import rates_from, sweep, told

    logging.getLogger("ettin_retrieval").setLevel(logging.INFO)
    settings = load_settings("params.yaml")
    rates = rates_from(given.rates)
    if given.queries is not None and given.queries < 1:
        raise InputError(f"--queries: {given.queries} is not a number above 0")
    choice = sweep(
        settings,
        rates,
        given.queries,
        given.training,
        given.negatives,
        given.encoder,
        given.output,
    )
    name = f"encoders.ettin_{settings.model}.{settings.recipe}.learning_rate"
    print(told(choice))
    print(f"To use it, set {name} in params.yaml to {choice.learning_rate:g}.")
    return 0


def _trec(given: argparse.Namespace) -> int:
    from ettin_retrieval.interop.trec import export_trec

    for path in export_trec(given.scores, given.out, given.benchmark):
        print(path)
    return 0


def _plan(given: argparse.Namespace) -> int:
    from ettin_retrieval.planning.report import plan, render
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.settings.schema import BENCHMARK_OF_TIER

    settings = load_settings(given.params)
    if given.model:
        if f"ettin_{given.model}" not in settings.encoders:
            names = ", ".join(name.removeprefix("ettin_") for name in settings.encoders)
            raise InputError(f"--model: unknown model {given.model!r}; there are {names}")
        settings = type(settings).model_validate(settings.model_dump() | {"model": given.model})
    tasks: list[str] | str = settings.evaluation.tasks
    if given.tasks:
        tasks = given.tasks if given.tasks in BENCHMARK_OF_TIER else given.tasks.split(",")
    print(render(plan(settings, given.gpu, tasks)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
