"""Study multi_stage: the fine-tuned encoder trained once more, on the scientific domain.

Stage 1 is the pipeline's fine-tuning on the web (MS MARCO on the track `paper`). Stage 2 starts
from its checkpoint with the scientific training data, at a lower rate.
"""

from __future__ import annotations

from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.studies.domains import WEB
from ettin_retrieval.studies.report import Report, Row, domain_means, ndcg_rows
from ettin_retrieval.studies.study import Study, run_study


def run(study: Study) -> Report:
    """Train stage 2 and score it."""
    settings, second = study.settings, study.params.multi_stage
    rate = settings.learning_rate * second.rate
    changes = {"finetuning.learning_rate": rate, "finetuning.epochs": second.epochs}
    scored = {
        "base": study.scores("base"),
        "stage1": study.scores("finetuned"),
        "stage2": study.train("stage2", study.params.varied(settings, changes)),
    }
    rows = ndcg_rows(scored)
    forgetting = forgotten(rows)
    return Report(
        title="Multi-stage: the web, then a domain",
        tables=[stages_table(rows, f"Model {settings.model}, nDCG@10, seed {settings.seed}")],
        notes=[
            "Scores are in points (x100). Stage 1 is the pipeline's fine-tuned checkpoint.",
            f"Stage 2: {second.epochs} epoch{'s' if second.epochs > 1 else ''} on the scientific "
            f"training data at a learning rate of {rate:g}, {second.rate:g} times that of stage 1.",
            f"Forgetting: {forgetting}.",
        ],
        scored={(name, settings.seed): scores for name, scores in scored.items()},
        summary=forgetting,
    )


def stages_table(rows: list[Row], caption: str) -> Table:
    """Base, stage 1 and stage 2 for each task, and the means of the domains."""
    means = [Row("Mean", domain, scores) for domain, scores in domain_means(rows).items()]
    cells = tuple(
        (task, domain, *map(points, s.values()), signed(s["stage2"] - s["stage1"]))
        for task, domain, s in [*rows, *means]
    )
    columns = ("Task", "Domain", "Base", "Stage 1", "Stage 2", "Stage 2 - stage 1")
    return Table(caption, columns, cells, labels=2)


def forgotten(rows: list[Row]) -> str:
    """What stage 2 lost on the web, in points and as a share of stage 1's gain."""
    base, first, second = domain_means(rows)[WEB].values()
    if second >= first:
        return (
            f"stage 2 forgot nothing on the web: its mean rose by {points(second - first)} points"
        )
    gained = first - base
    share = f", {100 * (first - second) / gained:.0f}% of stage 1's gain" if gained > 0 else ""
    return f"stage 2 forgot {points(first - second)} points on the web{share}"


if __name__ == "__main__":
    run_study("multi_stage", run, reads=["finetuned-scores"])
