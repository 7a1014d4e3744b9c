"""Study ablations: pooling, objective, negatives and their number, one factor at a time.

The grid in studies/params.yaml lists the values of each factor. The pipeline's settings are the
reference, from which every other arm differs in one factor. Negatives are always mined by the base
encoder, whatever the pooling. An objective trains at the rate that its own sweep chose, because
what suits one is far too much for another; no sweep is of another pooling or other negatives.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ettin_retrieval.experiment import Material
from ettin_retrieval.reports.documents import Table
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.difference import Arm, difference, intervals_in_words, spread
from ettin_retrieval.studies.report import AVERAGE, Report, domain_means, ndcg_rows, tasks_of
from ettin_retrieval.studies.study import Rate, Study, run_study, sample

HEADINGS = {
    "pooling": "Pooling",
    "objective": "Objective",
    "sampling": "Negatives",
    "num_negatives": "Negatives per pair",
}


class Change(NamedTuple):
    """One factor of the reference with another value."""

    factor: str
    value: Any

    @property
    def name(self) -> str:
        """The checkpoint's name in the ledger."""
        return f"{self.factor}-{self.value}"

    def settings(self, rate: Rate) -> dict[str, Any]:
        """The settings to change; none for the pooling, which belongs to the encoder.

        `rate` is an objective's own.
        """
        if self.factor == "pooling":
            return {}
        if self.factor != "objective":
            return {f"negatives.{self.factor}": self.value}
        return {"finetuning.objective": self.value, "finetuning.learning_rate": rate.value}


def run(study: Study) -> Report:
    """Train the reference and every change of it, with every seed."""
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    settings, ablations, encoder = study.settings, study.params.ablations, study.paths["encoder"]
    own = reference_values(settings, read_checkpoint(encoder)["pooling"])
    changes = [Change(factor, value) for factor, values in ablations.grid for value in values]
    if study.material.train.teacher is None:
        changes = [change for change in changes if change.value != "margin_mse"]
    arms: dict[str, Arm] = {"base": study.base()}
    rates = {"reference": study.rate(own["objective"])}
    for change in changes:
        objective = change.value if change.factor == "objective" else own["objective"]
        rates[change.name] = study.rate(objective)
        # Refuses what does not fit together before anything is trained.
        study.params.varied(settings, change.settings(rates[change.name]))
    arms["reference"] = train(study, None, rates["reference"])
    for change in changes:
        same = change.value == own[change.factor]
        arms[change.name] = arms["reference"] if same else train(study, change, rates[change.name])
    return Report(
        title="Ablations: one factor at a time",
        tables=[ablations_table(changes, arms, rates)],
        notes=[
            "Scores are nDCG@10 in points (x100).",
            f"Reference: {own['pooling']} pooling, {own['objective']}, {own['num_negatives']} "
            f"{own['sampling']} negatives, "
            f"{ablations.queries or len(study.material.train.queries):,} training queries, drawn "
            f"by the seed, {settings.epochs} epochs, the last weights kept.",
            intervals_in_words(study.params.seeds),
            "Rate: swept on the pipeline's development queries (studies/sweeps) for this encoder, "
            'recipe and objective, or untuned without such a sweep. "Reference\'s": no sweep is of '
            "this arm alone, and it may lose by a rate that suits the reference better.",
            "All arms train on the same queries for the same epochs; an objective with a row for "
            "each negative takes more steps.",
            "The objective margin_mse learns from a teacher's scores, and is left out if the "
            "training data has none.",
        ],
        arms=arms,
        summary=f"{len(changes)} changes of the reference, {len(study.params.seeds)} seeds",
    )


def train(study: Study, change: Change | None, rate: Rate) -> Arm:
    """What every seed scored with a change; None is the reference."""
    outcomes = {}
    for seed in study.params.seeds:
        material = sample(study.material, seed, study.params.ablations.queries)
        settings = study.settings.with_changes({"seed": seed})
        if change is None:
            outcomes[seed] = study.train("reference", settings, material)
            continue
        changed = study.params.varied(settings, change.settings(rate))
        mined = with_negatives(material, changed, settings, study.paths["encoder"])
        pooling = change.value if change.factor == "pooling" else None
        outcomes[seed] = study.train(change.name, changed, mined, pooling)
    return outcomes


def reference_values(settings: Settings, pooling: str) -> dict[str, Any]:
    """The reference's value of each factor."""
    return {
        "pooling": pooling,
        "objective": settings.finetuning.objective,
        "sampling": settings.negatives.sampling,
        "num_negatives": settings.negatives.num_negatives,
    }


def with_negatives(
    material: Material, changed: Settings, settings: Settings, encoder: Path
) -> Material:
    """The material with a change's negatives: the first of those mined, or mined again."""
    # A teacher has scored only some passages, and margin_mse takes its negatives from those.
    distils, distilled = (s.finetuning.objective == "margin_mse" for s in (changed, settings))
    if changed.negatives == settings.negatives and distils == distilled:
        return material
    same = changed.negatives.sampling == settings.negatives.sampling and distils == distilled
    count = changed.negatives.num_negatives
    if same and count <= settings.negatives.num_negatives:
        return replace(material, pairs=[(q, p, n[:count]) for q, p, n in material.pairs or []])
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.mining.mine import mine, needs_encoder

    model = load_checkpoint(encoder) if needs_encoder(changed) else None
    return replace(material, pairs=mine(material.train, model, changed)[0])


def ablations_table(changes: list[Change], arms: dict[str, Arm], rates: dict[str, Rate]) -> Table:
    """Every arm on average and by domain, against the reference; the base comes first."""
    rows = ndcg_rows(arms)
    means = domain_means(rows)
    domains = sorted(means, key=lambda domain: domain != AVERAGE)

    def cells(name: str) -> tuple[str, ...]:
        if arms[name] is arms["reference"]:
            against = ("reference", "")
        else:
            found = difference(arms["reference"], arms[name], tasks_of(rows, AVERAGE))
            against = found.cells
        return (*(spread(means[domain][name]) for domain in domains), *against)

    table = [("Base encoder", "", "", *cells("base"))]
    for change in changes:
        rate = str(rates[change.name])
        if change.factor != "objective" and arms[change.name] is not arms["reference"]:
            rate = f"{rates[change.name].value:g} (reference's)"
        table.append((HEADINGS[change.factor], str(change.value), rate, *cells(change.name)))
    columns = (
        "Factor", "Value", "Rate", *(domain.capitalize() for domain in domains), "Difference",
        "95% interval",
    )  # fmt: skip
    return Table("nDCG@10 of every arm", columns, tuple(table), labels=3)


if __name__ == "__main__":
    run_study("ablations", run)
