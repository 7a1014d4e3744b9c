"""Published scores of known models, for orientation."""

from __future__ import annotations

from ettin_retrieval.reports.documents import NONE, Document, Table, points
from ettin_retrieval.reports.tables.guide import GUIDE_COLUMNS
from ettin_retrieval.reports.tables.guide_notes import V1, V2
from ettin_retrieval.reports.view import METRIC_NAMES, SIZES, View

FIELDS = (
    "model", "task", "split", "metric", "published", "seeds", "dataset_revision", "source", "note",
)  # fmt: skip

COLUMNS = (
    *((column.title, column.task, column.metric) for column in GUIDE_COLUMNS),
    ("MSMARCO nDCG@10", "MSMARCO", "ndcg_at_10"),
    ("MTEB v2 Avg nDCG@10", V2, "ndcg_at_10"),
)


def published_document(view: View) -> Document:
    """One table in the guide's and the paper's columns."""
    others = [value for value in view.references.paper if value.key.model not in SIZES]
    values = [*view.references.published, *others]
    known = {(v.key.model, v.key.task, v.key.metric): v for v in values}
    rows = []
    for model in dict.fromkeys(value.key.model for value in values):
        found = [known.get((model, task, metric)) for _, task, metric in COLUMNS]
        rows.append((model, *(points(each.value) if each else NONE for each in found)))
    titles = tuple(title for title, *_ in COLUMNS)
    sources: dict[str, dict[str, None]] = {}
    for value in values:
        sources.setdefault(value.source, {})[value.key.model] = None
    notes = [
        f"Scores are in points (x100). MTEB Avg is over {V1}; {NONE} is a score not collected "
        "here.",
        *(f"Source of {', '.join(models)}: {source}." for source, models in sources.items()),
        *(
            f"{v.key.model}, {v.key.task} {METRIC_NAMES[v.key.metric]}: {v.note}."
            for v in values
            if v.note
        ),
    ]
    return Document(
        name="published",
        title="Published scores of known models",
        tables=(Table("Published, not measured here", ("Model", *titles), tuple(rows)),),
        records=tuple(
            {
                "model": value.key.model,
                "task": value.key.task,
                "split": value.key.split,
                "metric": value.key.metric,
                "published": value.value,
                "seeds": value.seeds,
                "dataset_revision": value.dataset_revision,
                "source": value.source,
                "note": value.note,
            }
            for value in values
        ),
        fields=FIELDS,
        notes=tuple(notes),
    )
