"""A learning rate picked on the development set, with every run on record.

    ettin-retrieval sweep

trains the selected model once per rate (`--rates`) on what the pipeline prepared (base encoder,
training data, negatives) and writes studies/sweeps/MODEL-RECIPE[-OBJECTIVE].json and .md. No
evaluation task is read. If the best rate is the lowest or the highest, a better one may lie beyond,
and the record says so.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ettin_retrieval.data.negatives import DEVELOPMENT
from ettin_retrieval.experiment import Material
from ettin_retrieval.reports.documents import NONE, Document, Table, markdown, points
from ettin_retrieval.runtime.determinism import pin_arithmetic, seed_everything
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.runtime.files import read_json, sha256_file, write_json
from ettin_retrieval.settings.rates import sweep_name
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.study import sample

logger = logging.getLogger("ettin_retrieval")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    dev_ndcg_at_10, step
        On the development set, a fraction: the best after training began, or the last if the last
        weights are kept; and its step. None if training diverged.
    failure
        Why training diverged.
    """

    learning_rate: float
    dev_ndcg_at_10: float | None
    step: int | None
    curve: list[tuple[int, float]]
    failure: str | None = None

    @property
    def outcome(self) -> str:
        """The score in points, or that training diverged.

        >>> Run(1e-3, 0.512, 4, []).outcome, Run(1.0, None, None, [], "not finite").outcome
        ('51.2', 'diverged')
        """
        return "diverged" if self.dev_ndcg_at_10 is None else points(self.dev_ndcg_at_10)


@dataclass(frozen=True)
class Choice:
    """The rate that a sweep picks.

    Attributes
    ----------
    at_edge
        Whether it is the lowest or the highest tried, so that a better one may lie beyond.
    """

    learning_rate: float
    dev_ndcg_at_10: float
    at_edge: bool

    def __str__(self) -> str:
        """The outcome in one line.

        >>> print(Choice(0.004, 0.8, True))
        Chosen: 0.004. It is at the edge of the bounds; widen them, a better rate may lie beyond.
        """
        edge = " It is at the edge of the bounds; widen them, a better rate may lie beyond."
        return f"Chosen: {self.learning_rate:g}." + (edge if self.at_edge else "")


def rates_from(text: str) -> list[float]:
    """Learning rates in rising order.

    >>> rates_from("2e-3, 1e-3")
    [0.001, 0.002]

    Raises
    ------
    InputError
        Not positive numbers, a repeated rate, or fewer than two.
    """
    try:
        rates = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--rates: {text!r}: write numbers such as 1e-5,2e-5") from None
    if len(set(rates)) < max(2, len(rates)) or not 0 < rates[0] <= rates[-1] < float("inf"):
        raise InputError(f"--rates: {text!r}: give two or more different numbers above 0")
    return rates


def pick(runs: list[Run]) -> Choice:
    """The rate with the best development score; of equal ones the lowest.

    >>> run = lambda rate, score: Run(rate, score, 1, [])
    >>> pick([run(1e-3, 0.5), run(2e-3, 0.7), run(4e-3, 0.6)])
    Choice(learning_rate=0.002, dev_ndcg_at_10=0.7, at_edge=False)

    Raises
    ------
    InputError
        Training diverged at every rate.
    """
    scores = {r.learning_rate: r.dev_ndcg_at_10 for r in runs if r.dev_ndcg_at_10 is not None}
    if not scores:
        raise InputError("sweep: training diverged at every rate; try lower ones")
    best = min(scores, key=lambda rate: (-scores[rate], rate))
    tried = [run.learning_rate for run in runs]
    return Choice(best, scores[best], at_edge=best in (min(tried), max(tried)))


def sweep(
    settings: Settings,
    rates: list[float],
    queries: int | None,
    training: Path,
    negatives: Path,
    encoder: Path,
    output: Path,
) -> Choice:
    """Train at every rate, and write the record after every run.

    Recorded runs of the same encoder, data and settings are kept, so a sweep can be widened, and
    an interrupted one resumes.

    Parameters
    ----------
    queries
        Number of training queries, a seeded sample; None takes all.
    training, negatives, encoder
        Outputs of the stages training_data, negatives and base_encoder.

    Raises
    ------
    InputError
        The prepared encoder is not the selected one, or training diverged at every rate.
    """
    pin_arithmetic(settings.strict)
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    base = read_checkpoint(encoder)
    if base["source"] != settings.encoder.source:
        raise InputError(
            f"{encoder} comes from {base['source']}, but params.yaml selects model "
            f"{settings.model} ({settings.encoder.source}); run `dvc repro negatives` first"
        )
    material = sample(Material.read(training, negatives), settings.seed, queries)
    others = settings.resolved()
    del others["finetuning"]["learning_rate"]
    facts = {
        "model": settings.model,
        "recipe": settings.recipe,
        "encoder": base["fingerprint"],
        "training_data": material.train.manifest(),
        # The manifests hold the hashes of the files beside them.
        "sha256": {
            "train": sha256_file(training / "train" / "manifest.json"),
            "dev": sha256_file(negatives / DEVELOPMENT / "manifest.json"),
            "negatives": sha256_file(negatives / "negatives.parquet"),
        },
        "development_queries": len(material.dev.queries),
        "settings": others,
    }
    runs = recorded(output, facts)
    for rate in rates:
        if rate not in [run.learning_rate for run in runs]:
            runs.append(_train(rate, settings, material, encoder))
            runs.sort(key=lambda run: run.learning_rate)
            write(output, facts, runs, None)
            outcomes = ", ".join(f"{run.learning_rate:g} {run.outcome}" for run in runs)
            logger.info("sweep: %s", outcomes)
    choice = pick(runs)
    write(output, facts, runs, choice)
    return choice


def _train(rate: float, settings: Settings, material: Material, encoder: Path) -> Run:
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    try:
        changed = settings.with_changes({"finetuning.learning_rate": rate})
    except ValidationError as error:
        raise InputError(f"--rates: {rate:g}: {error.errors()[0]['msg']}") from None
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(encoder)
    examples = training_examples(material.train, material.pairs or [])
    with tempfile.TemporaryDirectory() as work:
        try:
            curve = finetune(model, examples, material.dev, changed, Path(work))
        except LossNotFiniteError as error:  # the outcome of too high a rate
            return Run(rate, None, None, [], str(error))
    return Run(rate, curve.score, curve.best_step, curve.dev)


def _path(output: Path, facts: dict[str, Any]) -> Path:
    objective = facts["settings"]["finetuning"]["objective"]
    return output / f"{sweep_name(facts['model'], facts['recipe'], objective)}.json"


def recorded(output: Path, facts: dict[str, Any]) -> list[Run]:
    """Runs on record, if they differ from the coming ones in the rate alone."""
    path = _path(output, facts)
    record = read_json(path) if path.is_file() else {}
    same = all(record.get(name) == value for name, value in facts.items())
    return [Run(**run) for run in record["runs"]] if same else []


def write(output: Path, facts: dict[str, Any], runs: list[Run], choice: Choice | None) -> None:
    """Write the record, without a choice while the sweep goes on."""
    path = _path(output, facts)
    chosen = None if choice is None else asdict(choice)
    write_json(path, {**facts, "runs": [asdict(run) for run in runs], "chosen": chosen})
    path.with_suffix(".md").write_text(page(facts, runs, choice), encoding="utf-8")


def page(facts: dict[str, Any], runs: list[Run], choice: Choice | None) -> str:
    """The record as Markdown."""
    rows = [
        (
            f"{run.learning_rate:g}",
            run.outcome,
            NONE if run.step is None else str(run.step),
            "chosen" if choice and run.learning_rate == choice.learning_rate else "",
        )
        for run in runs
    ]
    caption = (
        f"Model {facts['model']}, recipe {facts['recipe']}, objective "
        f"{facts['settings']['finetuning']['objective']}: "
        f"{facts['training_data']['counts']['queries']:,} training and "
        f"{facts['development_queries']:,} development queries"
    )
    notes = [
        "nDCG@10 in points (x100) is the best on the development set during training; no "
        "evaluation task was read.",
        f"Bounds: {runs[0].learning_rate:g} to {runs[-1].learning_rate:g}.",
        "The sweep was interrupted." if choice is None else str(choice),
    ]
    columns = ("Learning rate", "Development nDCG@10", "At step", "")
    return markdown(
        Document(
            name="sweep",
            title="Sweep of the learning rate",
            tables=(Table(caption, columns, tuple(rows)),),
            records=(),
            fields=(),
            notes=tuple(notes),
            signature="Made by `ettin-retrieval sweep`; do not edit.",
        )
    )
