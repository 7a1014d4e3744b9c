"""The command `ettin-retrieval`: what you do with results, beside the pipeline that makes them.

Commands import what they need themselves, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.process import prepare_process
from ettin_retrieval.settings.rates import RATES, SWEEPS

app = typer.Typer(
    help="Compare, check, collect and export results; plan and sweep.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

Results = Annotated[Path, typer.Option(metavar="DIR", help="The ledger.")]
Expected = Annotated[
    Path, typer.Option(metavar="DIR", help="Expected scores, and the tasks of each benchmark.")
]
Scores = Annotated[Path, typer.Option(metavar="DIR", help="Such as data/scores/finetuned.")]
Directory = Annotated[Path, typer.Option(metavar="DIR")]
File = Annotated[Path, typer.Option(metavar="FILE")]

RESULTS, EXPECTED = Path("results"), Path("expected")

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Entry, such as tiny/base-seed42.")],
    b: Annotated[str, typer.Argument(help="Entry, such as tiny/finetuned-guide-seed42.")],
    results: Results = RESULTS,
    expected: Expected = EXPECTED,
    metric: Literal["ndcg_at_10", "mrr_at_10"] = "ndcg_at_10",
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 42,
) -> None:
    """Test whether B scores differently from A, per task."""
    from ettin_retrieval.reports.compare import comparison

    for part in comparison(results, expected, (a, b), metric, seed):
        print(part, flush=True)


@app.command()
def verify(
    results: Results = RESULTS,
    expected: Expected = EXPECTED,
    tables: Annotated[Path, typer.Option(metavar="DIR", help="Committed tables.")] = Path("tables"),
) -> None:
    """Check the ledger against its index, dvc.lock, recorded scores and committed tables."""
    from ettin_retrieval.ledger.integrity import problems
    from ettin_retrieval.reports.tables.write import table_problem
    from ettin_retrieval.reports.verify import verify as verify_scores

    found = list(problems(results))
    for line in found:
        print(line)
    *failed, summary = verify_scores(results, expected)
    stale = table_problem(results, expected, tables)
    print(*failed, summary, stale or f"{tables}: every table is current", sep="\n")
    if found or failed or stale:
        raise typer.Exit(1)


@app.command()
def record(
    model: Annotated[
        list[str] | None, typer.Option(help="May be repeated (default: tiny).")
    ] = None,
    results: Results = RESULTS,
    expected: Expected = EXPECTED,
) -> None:
    """Write expected/recorded.yaml from the ledger."""
    from ettin_retrieval.reports.verify import record as record_scores

    count = record_scores(results, expected, tuple(model or ["tiny"]))
    print(f"{expected / 'recorded.yaml'}: {count} values")


@app.command()
def index(results: Results = RESULTS) -> None:
    """Write the ledger's index, after entries came in by git or by copying."""
    from ettin_retrieval.ledger.store import read_ledger, write_index

    print(f"{write_index(results)}: {len(read_ledger(results))} entries")


@app.command()
def migrate(results: Results = RESULTS) -> None:
    """Convert a ledger of an earlier schema."""
    from ettin_retrieval.ledger.migrate import migrate as migrate_ledger

    print(f"{results}: {len(migrate_ledger(results))} entries converted")


@app.command()
def collect(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(help="Experiments, branches, tags or commits (default: all experiments)."),
    ] = None,
) -> None:
    """Bring experiments' ledger entries into this tree."""
    from ettin_retrieval.ledger.collect import collect as collect_entries

    collected = collect_entries(Path.cwd(), revisions or [])
    for name in collected.written:
        print(f"collected {name}")
    for conflict in collected.conflicts:
        print(conflict, file=sys.stderr)
    conflicts = len({conflict.key for conflict in collected.conflicts})
    print(
        f"{len(collected.written)} collected, {len(collected.present)} already present, "
        f"{conflicts} in conflict"
    )
    if conflicts:
        raise InputError(
            "entries of one key have different numbers and were left as they are; to take an "
            "experiment's, remove the file and name the experiment: ettin-retrieval collect REV"
        )


@app.command()
def calibrate(
    model: Annotated[
        str | None, typer.Option(help="Hub id, directory of a published model, or bm25.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="mteb's name, such as SciFact.")] = None,
    published_as: Annotated[
        str | None, typer.Option("--as", metavar="HUB_ID", help="Which model a directory holds.")
    ] = None,
    beir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The task's data (default: from the hub).")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every case that data and models are given for.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --all: a directory of collections.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="HUB_ID=DIR", help="With --all: where a model is. May be repeated."),
    ] = None,
    expected: File = EXPECTED / "calibration.yaml",
) -> None:
    """Check the evaluation against published scores of known models."""
    from ettin_retrieval.interop import calibration

    if every:
        if model or task or published_as or beir:
            raise InputError("--all takes --data and --at, and no single model or task")
        pairs = [(name, sign, path) for name, sign, path in (a.partition("=") for a in at or [])]
        if wrong := [name for name, sign, _ in pairs if not sign]:
            raise InputError(f"--at {wrong[0]}: write HUB_ID=DIR")
        models = {name: Path(path) for name, _, path in pairs}
        found = calibration.calibrate_all(expected, data, models)
    elif model is None or task is None:
        raise InputError("name --model and --task, or --all")
    else:
        found = iter([calibration.calibrate(expected, model, task, beir, published_as)])
    verdicts = []
    for part in found:
        print(calibration.render(part), end="\n\n", flush=True)
        verdicts += part
    print(calibration.summary(verdicts))
    if any(verdict.failed for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def bm25(
    benchmark: Annotated[
        Path, typer.Option(metavar="DIR", help="Output of the stage benchmark_data.")
    ] = Path("data/benchmark"),
    results: Results = RESULTS,
) -> None:
    """Score BM25 on the benchmark's tasks, into the ledger."""
    from ettin_retrieval.interop.bm25 import record_bm25

    entry = record_bm25(benchmark, results)
    print(f"{results / entry.name}.json: {len(entry.tasks)} tasks; run `dvc repro tables`")


@app.command("export-leaderboard")
def export_leaderboard(
    scores: Scores,
    checkpoint: Annotated[Path, typer.Option(metavar="DIR", help="The checkpoint scored.")],
    out: Directory,
    name: Annotated[
        str | None, typer.Option(metavar="ORG/MODEL", help="(default: from the fingerprint)")
    ] = None,
) -> None:
    """Write results as MTEB's results repository does."""
    from ettin_retrieval.interop import leaderboard

    written = leaderboard.export_leaderboard(scores, checkpoint, out, name)
    print(*leaderboard.foreign_data(written), written, sep="\n")


@app.command("export-trec")
def export_trec(
    scores: Scores,
    out: Directory,
    benchmark: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the judgments of these tasks too.")
    ] = None,
) -> None:
    """Write retrieved passages as TREC run files."""
    from ettin_retrieval.interop import trec

    for path in trec.export_trec(scores, out, benchmark):
        print(path)


@app.command()
def plan(
    params: File = Path("params.yaml"),
    model: Annotated[str | None, typer.Option(help="Instead of params.yaml's, such as 1b.")] = None,
    tasks: Annotated[
        str | None, typer.Option(metavar="TIER|NAME,...", help="Instead of params.yaml's.")
    ] = None,
    gpu: Annotated[str, typer.Option(help="Such as A100 or L4.")] = "H100",
) -> None:
    """Estimate what a run will cost, stage by stage, before it starts."""
    from ettin_retrieval.planning.report import plan as plan_run
    from ettin_retrieval.planning.report import render
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.settings.schema import BENCHMARK_OF_TIER

    settings = load_settings(params, {"model": model} if model else {})
    wanted: list[str] | str = settings.evaluation.tasks
    if tasks:
        wanted = tasks if tasks in BENCHMARK_OF_TIER else tasks.split(",")
    print(render(plan_run(settings, gpu, wanted)))


@app.command()
def sweep(
    rates: Annotated[
        str, typer.Option(metavar="R1,R2,...", help="For the Ettin sizes; others need their own.")
    ] = RATES,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Training queries (default: all).")
    ] = None,
    training: Directory = Path("data/training"),
    negatives: Directory = Path("data/negatives"),
    encoder: Directory = Path("models/base"),
    output: Directory = SWEEPS,
) -> None:
    """Pick a learning rate on the development set."""
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.studies import sweep as sweeps

    settings = load_settings()
    choice = sweeps.sweep(
        settings, sweeps.rates_from(rates), queries, training, negatives, encoder, output
    )
    print(choice)
    key = f"encoders.yaml: ettin_{settings.model}.lr.{settings.recipe}"
    print(f"To use it, set {key} to {choice.learning_rate:g}.")


@app.command("audit-negatives")
def audit_negatives(
    teacher: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A cross-encoder (default: the training data's teacher)."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Negatives to audit (default: 1,000 with a cross-encoder, otherwise all)."
        ),
    ] = None,
    training: Directory = Path("data/training"),
    negatives: Directory = Path("data/negatives"),
    output: File = Path("data/negatives_audit.json"),
) -> None:
    """Estimate how many mined negatives are relevant, by a teacher's scores."""
    from ettin_retrieval.interop import audit
    from ettin_retrieval.runtime.determinism import pin_arithmetic
    from ettin_retrieval.settings.load import load_settings

    settings = load_settings()
    if teacher is not None:
        pin_arithmetic(settings.strict)
    seed = settings.seed
    print(audit.audit_negatives(training, negatives, output, teacher, sample, seed))
    print(f"{output}: numbers and examples")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 if a check failed or the input is wrong, which is reported in one line; 2 for unusable
    arguments; 130 if interrupted.
    """
    prepare_process()
    try:
        app(arguments, prog_name="ettin-retrieval")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SystemExit as done:  # how typer ends, whether a command failed or not
        if done.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        return int(done.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
