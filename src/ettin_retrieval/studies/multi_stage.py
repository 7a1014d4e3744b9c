"""Study multi_stage: the fine-tuned encoder trained once more, on the scientific domain.

Stage 1 is the pipeline's fine-tuning on the web (MS MARCO on the track `paper`). Stage 2 starts
from its checkpoint with the scientific training data, at a lower rate.
"""

from __future__ import annotations

from ettin_retrieval.experiment import Material
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Arms, Scores, read_scores
from ettin_retrieval.studies.domains import WEB, domain_of
from ettin_retrieval.studies.settings import load_study_settings, varied

STAGES = ("base", "stage1", "stage2")


def run(settings: Settings, paths: Paths) -> str:
    """Train stage 2, score it, and write the table."""
    study = load_study_settings()
    rate = settings.learning_rate * study.multi_stage.rate
    changes = {"finetuning.learning_rate": rate, "finetuning.epochs": study.multi_stage.epochs}
    arm = varied(settings, changes, study)
    material = Material.read(paths["training"], paths["negatives"])
    arms = Arms("multi_stage", paths["benchmark"], paths["results"])
    scored = {
        "base": read_scores(paths["base-scores"]),
        "stage1": read_scores(paths["finetuned-scores"]),
        "stage2": arms.run("stage2", paths["finetuned"], material, arm),
    }
    arms.close()
    forgetting = forgotten(scored)
    report.write(
        paths["output"],
        "multi_stage",
        "Multi-stage: the web, then a domain",
        [stages_table(scored, f"Model {settings.model}, nDCG@10, seed {settings.seed}")],
        settings.model,
        {(name, settings.seed): scores for name, scores in scored.items()},
        [
            "Scores are in points (x100). Stage 1 is the pipeline's fine-tuned checkpoint.",
            f"Stage 2: {arm.epochs} epoch{'s' if arm.epochs > 1 else ''} on the scientific "
            f"training data at a learning rate of {rate:g}, {study.multi_stage.rate:g} times that "
            "of stage 1.",
            f"Forgetting: {forgetting}.",
        ],
    )
    return forgetting


def stages_table(scored: dict[str, Scores], caption: str) -> Table:
    """Base, stage 1 and stage 2 for each task, and the means of the domains."""
    base = scored["base"]
    rows = [
        (task, domain_of(task), *_cells([report.ndcg(scored[s], task) for s in STAGES]))
        for task in report.tasks_of(base)
    ]
    rows += [
        ("Mean", domain, *_cells([report.domain_mean(scored[s], domain) for s in STAGES]))
        for domain in [*report.domains_of(base), "average"]
    ]
    columns = ("Task", "Domain", "Base", "Stage 1", "Stage 2", "Stage 2 - stage 1")
    return Table(caption, columns, tuple(rows), labels=2)


def _cells(values: list[float]) -> list[str]:
    return [*map(points, values), signed(values[2] - values[1])]


def forgotten(scored: dict[str, Scores]) -> str:
    """What stage 2 lost on the web, in points and as a share of stage 1's gain."""
    base, first, second = (report.domain_mean(scored[stage], WEB) for stage in STAGES)
    if second >= first:
        return (
            f"stage 2 forgot nothing on the web: its mean rose by {points(second - first)} points"
        )
    gained = first - base
    share = f", {100 * (first - second) / gained:.0f}% of stage 1's gain" if gained > 0 else ""
    return f"stage 2 forgot {points(first - second)} points on the web{share}"


if __name__ == "__main__":
    run_stage(
        "multi_stage",
        run,
        reads=[
            "benchmark",
            "finetuned",
            "training",
            "negatives",
            "base-scores",
            "finetuned-scores",
        ],
        writes=["output", "results"],
    )
