"""Published scores of known models, for orientation."""

from __future__ import annotations

from ettin_retrieval.reports.documents import Document, Table, notes
from ettin_retrieval.reports.tables.guide import GUIDE_COLUMNS, V1, V2, printed
from ettin_retrieval.reports.view import METRIC_NAMES, SIZES, View

FIELDS = (
    "model", "task", "split", "metric", "published", "read_error", "seeds", "dataset_revision",
    "source", "note",
)  # fmt: skip

COLUMNS = {(column.task, column.metric): column.title for column in GUIDE_COLUMNS} | {
    ("MSMARCO", "ndcg_at_10"): "MSMARCO nDCG@10",
    (V2, "ndcg_at_10"): "MTEB v2 Avg nDCG@10",
}
"""Task and metric to the title of their column."""


def published_document(view: View) -> Document:
    """One table in the guide's and the paper's columns."""
    others = [value for value in view.references.paper if value.model not in SIZES]
    values = [*view.references.published, *others]
    known = {(v.model, v.task, str(v.metric)): v for v in values}
    rows = tuple(
        (model, *(printed(known.get((model, *column))) for column in COLUMNS))
        for model in dict.fromkeys(value.model for value in values)
    )
    sources: dict[str, dict[str, None]] = {}
    for value in values:
        sources.setdefault(value.source, {})[value.model] = None
    return Document(
        name="published",
        title="Published scores of known models",
        tables=(Table("Published, not measured here", ("Model", *COLUMNS.values()), rows),),
        records=tuple(value.model_dump() | {"published": value.value} for value in values),
        fields=FIELDS,
        notes=notes("published", v1=V1, sources=sources, values=values, metric_names=METRIC_NAMES),
    )
