"""TODO: reports.tables.published."""

from __future__ import annotations

from ettin_retrieval.reports.documents import Document, Table, points
from ettin_retrieval.reports.tables.guide_notes import GUIDE_COLUMNS, METRIC_NAMES, SIZES, V1, V2
from ettin_retrieval.reports.tables.layout import NONE, Ledger

PUBLISHED_FIELDS = (
    "model", "task", "split", "metric", "published", "seeds", "dataset_revision", "source", "note",
)  # fmt: skip


def published_document(ledger: Ledger) -> Document:
    """Published scores of known models, in the guide's and the paper's columns."""
    others = [value for value in ledger.references.paper if value.model not in SIZES]
    values = [*ledger.references.published, *others]
    known = {(value.model, value.task, value.metric): value for value in values}
    columns = [
        *GUIDE_COLUMNS,
        ("MSMARCO nDCG@10", "MSMARCO", "dev", "ndcg_at_10"),
        ("MTEB v2 Avg nDCG@10", V2, None, "ndcg_at_10"),
    ]
    rows = []
    for model in dict.fromkeys(value.model for value in values):
        found = [known.get((model, task, metric)) for _, task, _, metric in columns]
        rows.append((model, *(points(each.value) if each else NONE for each in found)))
    return Document(
        name="published",
        title="Published scores of known models",
        tables=(
            Table(
                "Published, not measured here",
                ("Model", *(column for column, *_ in columns)),
                tuple(rows),
            ),
        ),
        records=tuple(
            {
                "model": value.model,
                "task": value.task,
                "split": value.split,
                "metric": value.metric,
                "published": value.value,
                "seeds": value.seeds,
                "dataset_revision": value.dataset_revision,
                "source": value.source,
                "note": value.note,
            }
            for value in values
        ),
        fields=PUBLISHED_FIELDS,
        notes=(
            f"Scores are in points (x100). MTEB Avg is over {V1}; {NONE} is a score not collected "
            "here.",
            *(
                f"Source of {', '.join(dict.fromkeys(v.model for v in values if v.source == s))}: "
                f"{s}."
                for s in dict.fromkeys(value.source for value in values)
            ),
            *(f"{v.model}, {v.task} {METRIC_NAMES[v.metric]}: {v.note}." for v in values if v.note),
        ),
    )
