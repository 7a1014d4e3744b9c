"""Study ablations: pooling, objective, negatives and their number, each varied alone.

`studies.ablations.grid` in params.yaml lists the values of each factor; what the pipeline's own
settings say is the reference that every arm differs from in one factor. Mined negatives come from
the base encoder as it is, whatever an arm's pooling: only the factor itself differs. An objective
alone brings its own learning rate with it (`studies.ablations.rates`): what suits one is far too
much for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Trainer, varied
from ettin_retrieval.studies.material import (
    Material,
    Scores,
    drawn,
    only,
    read_material,
    read_scores,
)

KEYS = {
    "objective": "finetuning.objective",
    "sampling": "negatives.sampling",
    "per_query": "negatives.num_negatives",
}
"""Factor to the setting that it changes; pooling is the encoder's, and handed to the trainer."""

CLEAR_GAIN = 0.02
"""Less than this over the base encoder's mean is not clearly better."""

HEADINGS = {
    "pooling": "Pooling",
    "objective": "Objective",
    "sampling": "Negatives",
    "per_query": "Negatives per query",
}


@dataclass(frozen=True)
class Arm:
    """One encoder of the grid: the reference with one factor changed."""

    factor: str
    value: Any

    @property
    def name(self) -> str:
        """The checkpoint's name in the ledger."""
        return f"{self.factor}-{self.value}"


def body(settings: Settings, paths: Paths) -> str:
    """Train the reference and every other arm; write one table of all."""
    study = settings.studies.ablations
    whole = read_material(paths["training"], paths["negatives"])
    material = only(whole, drawn(whole, settings.seed)[: study.queries])
    trainer = Trainer("ablations", paths["benchmark"], paths["results"])
    arms = [Arm(f, value) for f, values in study.grid.model_dump().items() for value in values]
    if material.train.teacher is None:
        arms = [arm for arm in arms if arm.value != "margin_mse"]
    pooling = own_pooling(paths["encoder"])
    own = varied(settings, {}, "ablations")
    reference = trainer.run("reference", paths["encoder"], material, own)
    scored: dict[str, Scores] = {"reference": reference.scores}
    for arm in arms:
        if is_reference(arm, settings, pooling):
            scored[arm.name] = reference.scores
            continue
        changed = varied(settings, changes(arm, settings), "ablations")
        entry = trainer.run(
            arm.name,
            paths["encoder"],
            with_negatives(material, changed, settings, paths["encoder"]),
            changed,
            arm.value if arm.factor == "pooling" else None,
        )
        scored[arm.name] = entry.scores
    trainer.close()
    numbers = {(name, settings.seed): scores for name, scores in scored.items()}
    base = read_scores(paths["base-scores"])
    report.write(
        paths["output"],
        "ablations",
        "Ablations: one factor at a time",
        [arms_table(arms, scored, base)],
        report.records(settings.model, {("base", settings.seed): base} | numbers),
        [
            "Scores are nDCG@10 in points (x100).",
            f"Reference: {pooling} pooling, {settings.finetuning.objective}, "
            f"{settings.negatives.num_negatives} {settings.negatives.sampling} negatives, "
            f"{len(material.train.queries):,} training queries, {settings.epochs} epochs, one "
            f"seed ({settings.seed}): small differences may be chance.",
            rates_told(settings),
            *objectives_told(arms, scored, base),
            "The objective margin_mse learns from a teacher's scores, and is left out where the "
            "training data has none.",
        ],
    )
    return f"{len(numbers)} arms"


def changes(arm: Arm, settings: Settings) -> dict[str, Any]:
    """The settings that an arm changes."""
    if arm.factor not in KEYS:
        return {}
    changed = {KEYS[arm.factor]: arm.value}
    if arm.factor == "objective":
        rate = settings.studies.ablations.rates.get(arm.value, 1.0)
        changed["finetuning.learning_rate"] = settings.learning_rate * rate
    return changed


def rates_told(settings: Settings) -> str:
    """The learning rates in one line."""
    own = settings.learning_rate
    rates = settings.studies.ablations.rates
    others = ", ".join(f"{name} {rate * own:g}" for name, rate in rates.items())
    return (
        f"Learning rate {own:g}; each other objective has its own, picked on the development "
        f"split (studies/sweeps): {others}. All train on the same queries for the same epochs: "
        "an objective with a row for each negative takes more steps, none fewer."
    )


def objectives_told(arms: list[Arm], scored: dict[str, Scores], base: Scores) -> list[str]:
    """A line on the objectives that hardly gain on the base encoder, if there are any."""
    least = report.domain_mean(base, "average") + CLEAR_GAIN
    behind = [
        str(arm.value)
        for arm in arms
        if arm.factor == "objective" and report.domain_mean(scored[arm.name], "average") < least
    ]
    if not behind:
        return []
    return [
        f"{', '.join(behind)}: less than {points(CLEAR_GAIN)} points above the base encoder, at "
        "the best of the rates that were tried."
    ]


def own_pooling(encoder: Path) -> str:
    """How the base encoder pools."""
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    return str(read_checkpoint(encoder)["pooling"])


def is_reference(arm: Arm, settings: Settings, pooling: str) -> bool:
    """Whether an arm's value is the one that the pipeline has anyway."""
    own = {
        "pooling": pooling,
        "objective": settings.finetuning.objective,
        "sampling": settings.negatives.sampling,
        "per_query": settings.negatives.num_negatives,
    }
    return bool(own[arm.factor] == arm.value)


def with_negatives(
    material: Material, changed: Settings, settings: Settings, encoder: Path
) -> Material:
    """The material with an arm's negatives: fewer of those mined, or chosen anew."""
    # A teacher has scored some passages alone, and margin_mse takes its negatives from those.
    taught = (changed.finetuning.objective == "margin_mse") != (
        settings.finetuning.objective == "margin_mse"
    )
    if changed.negatives == settings.negatives and not taught:
        return material
    fewer = changed.negatives.num_negatives <= settings.negatives.num_negatives
    if changed.negatives.sampling == settings.negatives.sampling and fewer and not taught:
        count = changed.negatives.num_negatives
        return Material(
            material.train, material.dev, [(q, p, n[:count]) for q, p, n in material.pairs]
        )
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.mining.mine import mine, needs_encoder

    model = load_checkpoint(encoder) if needs_encoder(changed) else None
    pairs, _ = mine(material.train, model, changed)
    return Material(material.train, material.dev, pairs)


def arms_table(arms: list[Arm], scored: dict[str, Scores], base: Scores) -> Table:
    """Every arm by domain and on average, against the reference; the base encoder comes first."""
    reference = scored["reference"]
    domains = ["average", *report.domains_of(reference)]

    def row(factor: str, value: str, scores: Scores) -> tuple[str, ...]:
        means = [report.domain_mean(scores, domain) for domain in domains]
        difference = signed(means[0] - report.domain_mean(reference, "average"))
        told = "reference" if scores is reference else difference
        return (factor, value, *map(points, means), told)

    rows = [row("Base encoder", "", base)]
    rows += [row(HEADINGS[arm.factor], str(arm.value), scored[arm.name]) for arm in arms]
    columns = ("Factor", "Value", *(d.capitalize() for d in domains), "Difference")
    return Table("nDCG@10 of every arm", columns, tuple(rows), labels=2)


if __name__ == "__main__":
    run_stage(
        "ablations",
        body,
        reads=["benchmark", "encoder", "training", "negatives", "base-scores"],
        writes=["output", "results"],
        package="studies",
    )
