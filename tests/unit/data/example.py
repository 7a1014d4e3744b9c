"""A small dataset, with and without a teacher."""

from __future__ import annotations

from dataclasses import replace

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)

DATASET = RetrievalDataset(
    frame([("d1", "Rent", "is due\u2028on the first "), ("d2", "", "no title")], CORPUS),
    frame([("q1", "when is rent due"), ("q2", "which has no title")], QUERIES),
    frame([("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d2", 1)], QRELS),
    Origin("example", "c0ffee", "CC0-1.0", "test", {"left_out": 3}),
)
TEACHER_ROWS = [("q1", "d1", 0.9), ("q1", "d2", -0.5), ("q2", "d2", 1.0)]
WITH_TEACHER = replace(DATASET, teacher=frame(TEACHER_ROWS, TEACHER))
