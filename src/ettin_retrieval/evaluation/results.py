"""Evaluation results in a form that the same scores always give the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from ettin_retrieval.records import table

RUN = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("rank", pa.int32()),
     ("score", pa.float32())]
)  # fmt: skip


def portable_result(result: Any) -> dict[str, Any]:
    """mteb's TaskResult as JSON, without the clock times that differ from run to run.

    `mteb.TaskResult.from_disk` reads it back.
    """
    content: dict[str, Any] = json.loads(result.model_dump_json())
    for key in ("evaluation_time", "kg_co2_emissions", "date", "evaluation_phases"):
        if key in content:
            content[key] = None
    for scores in content["scores"].values():
        for subset in scores:
            for key in [k for k, value in subset.items() if isinstance(value, float)]:
                if subset[key] != subset[key]:  # NaN is no JSON
                    subset[key] = None
    return content


def run_table(run: dict[str, dict[str, float]]) -> pa.Table:
    """Retrieved passages by query id and rank; equal scores as trec_eval orders them, by falling
    passage id.
    """
    rows = [
        (query_id, corpus_id, rank, score)
        for query_id in sorted(run)
        for rank, (corpus_id, score) in enumerate(
            sorted(run[query_id].items(), key=lambda hit: (hit[1], hit[0]), reverse=True), start=1
        )
    ]
    return table(rows, RUN)
