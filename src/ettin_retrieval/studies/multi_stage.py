"""Study multi_stage: the fine-tuned encoder trained once more, on the scientific domain.

Stage 1 is the pipeline's own fine-tuning on the web (MS MARCO on the paper track); stage 2 goes
on from its checkpoint with the scientific training data, at a lower rate.
"""

from __future__ import annotations

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Trainer, varied
from ettin_retrieval.studies.domains import WEB, domain_of
from ettin_retrieval.studies.material import Scores, read_material, read_scores

STAGES = ("base", "stage1", "stage2")


def body(settings: Settings, paths: Paths) -> str:
    """Train stage 2, score it, and write the table."""
    second = settings.studies.multi_stage
    changes = {
        "finetuning.learning_rate": settings.learning_rate * second.rate,
        "finetuning.epochs": second.epochs,
    }
    trainer = Trainer("multi_stage", paths["benchmark"], paths["results"])
    material = read_material(paths["training"], paths["negatives"])
    arm = varied(settings, changes, "multi_stage")
    entry = trainer.run("stage2", paths["finetuned"], material, arm)
    trainer.close()
    scored = {
        "base": read_scores(paths["base-scores"]),
        "stage1": read_scores(paths["finetuned-scores"]),
        "stage2": entry.scores,
    }
    numbers = {(name, settings.seed): scores for name, scores in scored.items()}
    report.write(
        paths["output"],
        "multi_stage",
        "Multi-stage: the web, then a domain",
        [stages_table(scored, f"Model {settings.model}, nDCG@10, seed {settings.seed}")],
        report.records(settings.model, numbers),
        notes(scored, arm),
    )
    return forgotten(scored)


def stages_table(scored: dict[str, Scores], caption: str) -> Table:
    """Base, stage 1 and stage 2 side by side for each task, and the means of the domains."""
    rows = []
    base = scored["base"]
    for task in report.tasks_of(base):
        rows.append(
            (task, domain_of(task), *_cells([report.ndcg(scored[s], task) for s in STAGES]))
        )
    for domain in [*report.domains_of(base), "average"]:
        means = [report.domain_mean(scored[stage], domain) for stage in STAGES]
        rows.append(("Mean", domain, *_cells(means)))
    columns = ("Task", "Domain", "Base", "Stage 1", "Stage 2", "Stage 2 - stage 1")
    return Table(caption, columns, tuple(rows), labels=2)


def _cells(values: list[float]) -> list[str]:
    return [*map(points, values), signed(values[2] - values[1])]


def forgotten(scored: dict[str, Scores]) -> str:
    """What stage 2 lost on the web, in points and as a share of what stage 1 had gained."""
    base, first, second = (report.domain_mean(scored[stage], WEB) for stage in STAGES)
    if second >= first:
        return (
            f"stage 2 forgot nothing on the web: its mean rose by {points(second - first)} points"
        )
    gained = first - base
    share = f", {100 * (first - second) / gained:.0f}% of stage 1's gain" if gained > 0 else ""
    return f"stage 2 forgot {points(first - second)} points on the web{share}"


def notes(scored: dict[str, Scores], arm: Settings) -> list[str]:
    """Facts to read the table by."""
    return [
        "Scores are in points (x100). Stage 1 is the pipeline's fine-tuned checkpoint.",
        f"Stage 2: {arm.epochs} epoch{'s' if arm.epochs > 1 else ''} on the scientific training "
        f"data at a learning rate of {arm.learning_rate:g}, "
        f"{arm.studies.multi_stage.rate:g} times that of stage 1.",
        f"Forgetting: {forgotten(scored)}.",
    ]


if __name__ == "__main__":
    run_stage(
        "multi_stage",
        body,
        reads=[
            "benchmark",
            "finetuned",
            "training",
            "negatives",
            "base-scores",
            "finetuned-scores",
        ],
        writes=["output", "results"],
        package="studies",
    )
