"""Study multi_stage: an encoder trained on the web, and then on the scientific domain.

Both stages are trained here with every seed, on as many queries and pairs of either domain, without
what the evaluation asks (see `matched`). Each stage's negatives are mined by the encoder that it
starts from: what was hard for the base encoder is easy after stage 1. Stage 2 has a lower rate.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ettin_retrieval.experiment import Material
from ettin_retrieval.reports.documents import Table
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.difference import (
    Arm,
    Outcome,
    difference,
    intervals_in_words,
    spread,
)
from ettin_retrieval.studies.domains import SCIENTIFIC, WEB, require_both
from ettin_retrieval.studies.matched import WEB_READS, amount_in_words, matched, two_domains
from ettin_retrieval.studies.report import Report, Row, domain_means, ndcg_rows, tasks_of
from ettin_retrieval.studies.study import Study, run_study


def run(study: Study) -> Report:
    """Train both stages with every seed and score them."""
    params, second = study.params, study.params.multi_stage
    require_both(study.tasks)
    materials = two_domains(study)
    rate = study.settings.learning_rate * second.rate
    changes = {"finetuning.learning_rate": rate, "finetuning.epochs": second.epochs}
    stages: dict[str, dict[int, Outcome]] = {"stage1": {}, "stage2": {}}
    for seed in params.seeds:
        drawn = matched(materials, params.two_domains, seed)
        first = params.varied(study.settings, {"seed": seed})
        stages["stage1"][seed] = one = study.train("stage1", first, drawn[WEB])
        assert one.checkpoint is not None
        mined = mined_by(one.checkpoint, drawn[SCIENTIFIC], first)
        changed = params.varied(study.settings, changes | {"seed": seed})
        stages["stage2"][seed] = study.train("stage2", changed, mined, start=one.checkpoint)
    arms: dict[str, Arm] = {"base": study.base(), **stages}
    rows = ndcg_rows(arms)
    found = forgotten(rows, arms)
    return Report(
        title="Multi-stage: the web, then a domain",
        tables=[stages_table(rows, arms, f"Model {study.settings.model}, nDCG@10")],
        notes=[
            "Scores are nDCG@10 in points (x100).",
            amount_in_words(drawn[WEB]),
            "Negatives of either stage are mined by the encoder that it starts from.",
            intervals_in_words(params.seeds),
            study.rate_in_words(),
            f"Stage 2: {second.epochs} epoch{'s' if second.epochs > 1 else ''} at learning rate "
            f"{rate:g}, untuned: {second.rate:g} times that of stage 1.",
            f"On the web, stage 2 against stage 1: {found}.",
        ],
        arms=arms,
        summary=f"on the web, stage 2 against stage 1: {found}",
    )


def mined_by(checkpoint: Path, material: Material, settings: Settings) -> Material:
    """The same pairs with the negatives that another encoder finds."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.mining.mine import mine, needs_encoder

    model = load_checkpoint(checkpoint) if needs_encoder(settings) else None
    kept = {(query, positive) for query, positive, _ in material.pairs or []}
    pairs, _ = mine(material.train, model, settings)
    return replace(material, pairs=[pair for pair in pairs if pair[:2] in kept])


def stages_table(rows: list[Row], arms: dict[str, Arm], caption: str) -> Table:
    """Base, stage 1 and stage 2 for each task, and the means of the domains."""
    means = [Row("Mean", domain, scores) for domain, scores in domain_means(rows).items()]
    cells = []
    for task, domain, scores in [*rows, *means]:
        tasks = tasks_of(rows, domain) if task == "Mean" else [task]
        found = difference(arms["stage1"], arms["stage2"], tasks)
        verdict = found.verdict("gained", "forgot" if domain == WEB else "lost")
        cells.append((task, domain, *map(spread, scores.values()), *found.cells, verdict))
    columns = (
        "Task", "Domain", "Base", "Stage 1", "Stage 2", "Stage 2 - stage 1", "95% interval",
        "Verdict",
    )  # fmt: skip
    return Table(caption, columns, tuple(cells), labels=2)


def forgotten(rows: list[Row], arms: dict[str, Arm]) -> str:
    """Whether stage 2 lost anything on the web, by the interval."""
    found = difference(arms["stage1"], arms["stage2"], tasks_of(rows, WEB))
    change, interval = found.cells
    return f"{found.verdict('gained', 'forgot')}, {change} points ({interval})"


if __name__ == "__main__":
    run_study("multi_stage", run, reads=["heldout", *WEB_READS])
