"""Evaluation results in a form that the same scores always give the same bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

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
    query_ids = sorted(run)
    counts = np.array([len(run[query_id]) for query_id in query_ids], dtype=np.int64)
    ids, scores = [], []
    for query_id in query_ids:
        found = list(run[query_id])
        given = np.fromiter(run[query_id].values(), np.float64, len(found))
        if len(given) and not (np.diff(given) < 0).all():
            order = sorted(
                range(len(found)), key=lambda hit: (given[hit], found[hit]), reverse=True
            )
            found, given = [found[hit] for hit in order], given[order]
        ids.append(pa.array(found, pa.string()))
        scores.append(given.astype(np.float32))
    starts = counts.cumsum() - counts
    ranks = np.arange(counts.sum()) - np.repeat(starts, counts) + 1
    columns = [
        pa.array(query_ids, pa.string()).take(pa.array(np.repeat(np.arange(len(counts)), counts))),
        pa.concat_arrays(ids) if ids else pa.array([], pa.string()),
        pa.array(ranks, pa.int32()),
        pa.array(np.concatenate(scores) if scores else [], pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=RUN)
