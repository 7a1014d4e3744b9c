"""Study ablations: pooling, objective, negatives and their number, each varied alone.

`studies.ablations.grid` in params.yaml lists the values of each factor; what the pipeline's own
settings say is the reference that every arm differs from in one factor. Mined negatives come from
the base encoder as it is, whatever an arm's pooling: only the factor itself differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.documents import Table, points, signed
from ettin_retrieval.params import Settings
from ettin_retrieval.stages import Paths, run_stage
from ettin_retrieval.studies import report
from ettin_retrieval.studies.few_shot import drawn
from ettin_retrieval.studies.training import Material, Scores, Trainer, only, read_material, varied

KEYS = {
    "objective": "finetuning.objective",
    "sampling": "negatives.sampling",
    "per_query": "negatives.per_query",
}
"""Factor to the setting that it changes; pooling is the encoder's, and handed to the trainer."""

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
    """Train the reference and every other arm; write one table a factor."""
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
        changes = {KEYS[arm.factor]: arm.value} if arm.factor in KEYS else {}
        changed = varied(settings, changes, "ablations")
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
    report.write(
        paths["output"],
        "ablations",
        "Ablations: one factor at a time",
        [factor_table(f, [a for a in arms if a.factor == f], scored) for f in HEADINGS],
        report.records(settings.model, numbers),
        [
            "Scores are nDCG@10 in points (x100); in parentheses the difference to the reference.",
            f"Reference: {pooling} pooling, {settings.finetuning.objective}, "
            f"{settings.negatives.per_query} {settings.negatives.sampling} negatives, "
            f"{len(material.train.queries):,} training queries, {settings.epochs} epochs, one "
            f"seed ({settings.seed}): small differences may be chance.",
            "The objective margin_mse learns from a teacher's scores, and is left out where the "
            "training data has none.",
        ],
    )
    return f"{len(numbers)} arms"


def own_pooling(encoder: Path) -> str:
    """How the base encoder pools."""
    from ettin_retrieval.encoders import read_checkpoint

    return str(read_checkpoint(encoder)["pooling"])


def is_reference(arm: Arm, settings: Settings, pooling: str) -> bool:
    """Whether an arm's value is the one that the pipeline has anyway."""
    own = {
        "pooling": pooling,
        "objective": settings.finetuning.objective,
        "sampling": settings.negatives.sampling,
        "per_query": settings.negatives.per_query,
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
    fewer = changed.negatives.per_query <= settings.negatives.per_query
    if changed.negatives.sampling == settings.negatives.sampling and fewer and not taught:
        count = changed.negatives.per_query
        return Material(
            material.train, material.dev, [(q, p, n[:count]) for q, p, n in material.pairs]
        )
    from ettin_retrieval.encoders import load_checkpoint
    from ettin_retrieval.negatives import mine, needs_encoder

    model = load_checkpoint(encoder) if needs_encoder(changed) else None
    pairs, _ = mine(material.train, model, changed)
    return Material(material.train, material.dev, pairs)


def factor_table(factor: str, arms: list[Arm], scored: dict[str, Scores]) -> Table:
    """One factor's values by domain and on average, against the reference."""
    reference = scored["reference"]
    domains = ["average", *report.domains_of(reference)]
    rows = []
    for arm in arms:
        cells = []
        for domain in domains:
            mean = report.domain_mean(scored[arm.name], domain)
            difference = signed(mean - report.domain_mean(reference, domain))
            same = scored[arm.name] is reference
            cells.append(f"{points(mean)} ({'reference' if same else difference})")
        rows.append((str(arm.value), *cells))
    heading = HEADINGS[factor]
    return Table(heading, (heading, *(d.capitalize() for d in domains)), tuple(rows))


if __name__ == "__main__":
    run_stage(
        "ablations",
        body,
        reads=["benchmark", "encoder", "training", "negatives"],
        writes=["output", "results"],
        package="studies",
    )
