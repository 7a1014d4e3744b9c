"""Study ablations: pooling, objective, negatives and their number, one factor at a time.

The grid in studies/params.yaml lists the values of each factor. The pipeline's settings are the
reference, from which every other encoder differs in one factor. Negatives are always mined by the
base encoder, whatever the pooling. An objective brings its own learning rate, because what suits
one is far too much for another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ettin_retrieval.experiment import Material
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.report import Report, Scores, domain_means, ndcg_rows
from ettin_retrieval.studies.settings import Ablations
from ettin_retrieval.studies.study import Study, run_study, sample

HEADINGS = {
    "pooling": "Pooling",
    "objective": "Objective",
    "sampling": "Negatives",
    "num_negatives": "Negatives per pair",
}

CLEAR_GAIN = 0.02
"""A smaller gain over the base encoder's mean is pointed out."""


class Change(NamedTuple):
    """One factor of the reference with another value."""

    factor: str
    value: Any

    @property
    def name(self) -> str:
        """The checkpoint's name in the ledger."""
        return f"{self.factor}-{self.value}"

    def settings(self, settings: Settings, ablations: Ablations) -> dict[str, Any]:
        """The settings to change; none for the pooling, which belongs to the encoder."""
        if self.factor == "pooling":
            return {}
        if self.factor != "objective":
            return {f"negatives.{self.factor}": self.value}
        rate = settings.learning_rate * ablations.rates.get(self.value, 1.0)
        return {"finetuning.objective": self.value, "finetuning.learning_rate": rate}


def run(study: Study) -> Report:
    """Train the reference and every change of it."""
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    settings, params, encoder = study.settings, study.params, study.paths["encoder"]
    ablations = params.ablations
    material = sample(study.material, settings.seed, ablations.queries)
    own = reference_values(settings, read_checkpoint(encoder)["pooling"])
    changes = [Change(factor, value) for factor, values in ablations.grid for value in values]
    if material.train.teacher is None:
        changes = [change for change in changes if change.value != "margin_mse"]
    reference = study.train("reference", params.varied(settings, {}), material)
    scored = {"base": study.scores("base"), "reference": reference}
    for change in changes:
        if change.value == own[change.factor]:
            scored[change.name] = reference
            continue
        changed = params.varied(settings, change.settings(settings, ablations))
        mined = with_negatives(material, changed, settings, encoder)
        pooling = change.value if change.factor == "pooling" else None
        scored[change.name] = study.train(change.name, changed, mined, pooling)
    return Report(
        title="Ablations: one factor at a time",
        tables=[ablations_table(changes, scored)],
        notes=[
            "Scores are nDCG@10 in points (x100).",
            f"Reference: {own['pooling']} pooling, {own['objective']}, {own['num_negatives']} "
            f"{own['sampling']} negatives, {len(material.train.queries):,} training queries, "
            f"{settings.epochs} epochs, one seed ({settings.seed}): small differences may be "
            "chance.",
            rates(settings, ablations),
            *weak_objectives(changes, scored),
            "The objective margin_mse learns from a teacher's scores, and is left out if the "
            "training data has none.",
        ],
        scored={(name, settings.seed): scores for name, scores in scored.items()},
        summary=f"{len(changes)} changes of the reference",
    )


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


def rates(settings: Settings, ablations: Ablations) -> str:
    """The learning rates in one line."""
    own = settings.learning_rate
    others = ", ".join(f"{name} {rate * own:g}" for name, rate in ablations.rates.items())
    return (
        f"Learning rate {own:g}; each other objective has its own, picked on the development set "
        f"(studies/sweeps): {others}. All train on the same queries for the same epochs; an "
        "objective with a row for each negative takes more steps."
    )


def weak_objectives(changes: list[Change], scored: dict[str, Scores]) -> list[str]:
    """A note on objectives that hardly gain on the base encoder, if there are any."""
    means = domain_means(ndcg_rows(scored))["average"]
    objectives = [change for change in changes if change.factor == "objective"]
    weak = [c.value for c in objectives if means[c.name] < means["base"] + CLEAR_GAIN]
    if not weak:
        return []
    return [
        f"{', '.join(weak)}: less than {points(CLEAR_GAIN)} points above the base encoder, at the "
        "best of the rates tried."
    ]


def ablations_table(changes: list[Change], scored: dict[str, Scores]) -> Table:
    """Every encoder on average and by domain, against the reference; the base comes first."""
    means = domain_means(ndcg_rows(scored))
    domains = sorted(means, key=lambda domain: domain != "average")

    def row(factor: str, value: str, name: str) -> tuple[str, ...]:
        same = scored[name] is scored["reference"]
        difference = signed(means["average"][name] - means["average"]["reference"])
        cells = (points(means[domain][name]) for domain in domains)
        return (factor, value, *cells, "reference" if same else difference)

    rows = [row("Base encoder", "", "base")]
    rows += [row(HEADINGS[c.factor], str(c.value), c.name) for c in changes]
    columns = ("Factor", "Value", *(d.capitalize() for d in domains), "Difference")
    return Table("nDCG@10 of every arm", columns, tuple(rows), labels=2)


if __name__ == "__main__":
    run_study("ablations", run)
