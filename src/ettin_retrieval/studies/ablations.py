"""Study ablations: pooling, objective, negatives and their number, one factor at a time.

The grid in studies/params.yaml lists the values of each factor. The pipeline's settings are the
reference, from which every arm differs in one factor. Negatives are always mined by the base
encoder, whatever an arm's pooling. An objective brings its own learning rate, because what suits
one is far too much for another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ettin_retrieval.experiment import Material
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Arms, Scores, read_scores, sample
from ettin_retrieval.studies.settings import Ablations, load_study_settings, varied

KEYS = {
    "objective": "finetuning.objective",
    "sampling": "negatives.sampling",
    "num_negatives": "negatives.num_negatives",
}
"""Factor to the setting that it changes; pooling belongs to the encoder."""

HEADINGS = {
    "pooling": "Pooling",
    "objective": "Objective",
    "sampling": "Negatives",
    "num_negatives": "Negatives per pair",
}

CLEAR_GAIN = 0.02
"""A smaller gain over the base encoder's mean is pointed out."""


@dataclass(frozen=True)
class Arm:
    """The reference with one factor changed."""

    factor: str
    value: Any

    @property
    def name(self) -> str:
        """The checkpoint's name in the ledger."""
        return f"{self.factor}-{self.value}"


def run(settings: Settings, paths: Paths) -> str:
    """Train the reference and every other arm; write one table of all."""
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    study = load_study_settings()
    whole = Material.read(paths["training"], paths["negatives"])
    material = sample(whole, settings.seed, study.ablations.queries)
    pooling = read_checkpoint(paths["encoder"])["pooling"]
    grid = study.ablations.grid.model_dump()
    arms = [Arm(factor, value) for factor, values in grid.items() for value in values]
    if material.train.teacher is None:
        arms = [arm for arm in arms if arm.value != "margin_mse"]
    trained = Arms("ablations", paths["benchmark"], paths["results"])
    reference = trained.run("reference", paths["encoder"], material, varied(settings, {}, study))
    scored = {"reference": reference}
    for arm in arms:
        if is_reference(arm, settings, pooling):
            scored[arm.name] = reference
            continue
        changed = varied(settings, changes(arm, settings, study.ablations), study)
        own = with_negatives(material, changed, settings, paths["encoder"])
        pool = arm.value if arm.factor == "pooling" else None
        scored[arm.name] = trained.run(arm.name, paths["encoder"], own, changed, pool)
    trained.close()
    base = read_scores(paths["base-scores"])
    report.write(
        paths["output"],
        "ablations",
        "Ablations: one factor at a time",
        [arms_table(arms, scored, base)],
        settings.model,
        {(name, settings.seed): scores for name, scores in {"base": base, **scored}.items()},
        [
            "Scores are nDCG@10 in points (x100).",
            f"Reference: {pooling} pooling, {settings.finetuning.objective}, "
            f"{settings.negatives.num_negatives} {settings.negatives.sampling} negatives, "
            f"{len(material.train.queries):,} training queries, {settings.epochs} epochs, one "
            f"seed ({settings.seed}): small differences may be chance.",
            rates(settings, study.ablations),
            *weak_objectives(arms, scored, base),
            "The objective margin_mse learns from a teacher's scores, and is left out if the "
            "training data has none.",
        ],
    )
    return f"{len(scored)} arms"


def is_reference(arm: Arm, settings: Settings, pooling: str) -> bool:
    """Whether an arm's value is the pipeline's."""
    own = {
        "pooling": pooling,
        "objective": settings.finetuning.objective,
        "sampling": settings.negatives.sampling,
        "num_negatives": settings.negatives.num_negatives,
    }
    return bool(own[arm.factor] == arm.value)


def changes(arm: Arm, settings: Settings, study: Ablations) -> dict[str, Any]:
    """The settings that an arm changes."""
    if arm.factor not in KEYS:
        return {}
    changed = {KEYS[arm.factor]: arm.value}
    if arm.factor == "objective":
        rate = study.rates.get(arm.value, 1.0)
        changed["finetuning.learning_rate"] = settings.learning_rate * rate
    return changed


def with_negatives(
    material: Material, changed: Settings, settings: Settings, encoder: Path
) -> Material:
    """The material with an arm's negatives: the first of those mined, or mined again."""
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


def rates(settings: Settings, study: Ablations) -> str:
    """The learning rates in one line."""
    own = settings.learning_rate
    others = ", ".join(f"{name} {rate * own:g}" for name, rate in study.rates.items())
    return (
        f"Learning rate {own:g}; each other objective has its own, picked on the development set "
        f"(studies/sweeps): {others}. All train on the same queries for the same epochs; an "
        "objective with a row for each negative takes more steps."
    )


def weak_objectives(arms: list[Arm], scored: dict[str, Scores], base: Scores) -> list[str]:
    """A note on objectives that hardly gain on the base encoder, if there are any."""
    least = report.domain_mean(base, "average") + CLEAR_GAIN
    weak = [
        str(arm.value)
        for arm in arms
        if arm.factor == "objective" and report.domain_mean(scored[arm.name], "average") < least
    ]
    if not weak:
        return []
    return [
        f"{', '.join(weak)}: less than {points(CLEAR_GAIN)} points above the base encoder, at the "
        "best of the rates tried."
    ]


def arms_table(arms: list[Arm], scored: dict[str, Scores], base: Scores) -> Table:
    """Every arm by domain and on average, against the reference; the base encoder comes first."""
    reference = scored["reference"]
    domains = ["average", *report.domains_of(reference)]

    def row(factor: str, value: str, scores: Scores) -> tuple[str, ...]:
        means = [report.domain_mean(scores, domain) for domain in domains]
        difference = signed(means[0] - report.domain_mean(reference, "average"))
        shown = "reference" if scores is reference else difference
        return (factor, value, *map(points, means), shown)

    rows = [row("Base encoder", "", base)]
    rows += [row(HEADINGS[arm.factor], str(arm.value), scored[arm.name]) for arm in arms]
    columns = ("Factor", "Value", *(d.capitalize() for d in domains), "Difference")
    return Table("nDCG@10 of every arm", columns, tuple(rows), labels=2)


if __name__ == "__main__":
    run_stage(
        "ablations",
        run,
        reads=["benchmark", "encoder", "training", "negatives", "base-scores"],
        writes=["output", "results"],
    )
