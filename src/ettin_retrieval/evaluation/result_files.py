"""The files of one task's scores: equal scores give equal bytes.

TASK.json               mteb's result
TASK.queries.parquet    per-query scores
TASK.run.parquet        retrieved passages
"""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.evaluation.score import TaskScores, means
from ettin_retrieval.runtime.files import write_json

RUN = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("rank", pa.int32()),
     ("score", pa.float32())]
)  # fmt: skip

TIMES = ("evaluation_time", "kg_co2_emissions", "date", "evaluation_phases")
"""What differs from run to run in mteb's result; left empty."""


def write_scores(scores: TaskScores, directory: Path) -> None:
    """Write the files of one task; mteb's `TaskResult.from_disk` reads the first."""
    result = json.loads(scores.result.model_dump_json()) | dict.fromkeys(TIMES)
    write_json(directory / f"{scores.name}.json", result)
    per_query = pa.Table.from_pandas(scores.per_query, preserve_index=False)
    pq.write_table(
        per_query.replace_schema_metadata(None), directory / f"{scores.name}.queries.parquet"
    )
    pq.write_table(run_table(scores.run), directory / f"{scores.name}.run.parquet")


def read_means(directory: Path, task: str) -> dict[str, float]:
    """Metric to mean over the queries."""
    return means(pd.read_parquet(directory / f"{task}.queries.parquet"))


def run_table(run: dict[str, dict[str, float]]) -> pa.Table:
    """Retrieved passages by query id and rank; equal scores by descending passage id, as trec_eval
    orders them.
    """
    tables = [RUN.empty_table()]
    for query_id in sorted(run):
        hits = sorted(run[query_id].items(), key=itemgetter(1, 0), reverse=True)
        columns = {
            "query_id": [query_id] * len(hits),
            "corpus_id": [passage_id for passage_id, _ in hits],
            "rank": range(1, len(hits) + 1),
            "score": [score for _, score in hits],
        }
        tables.append(pa.table(columns, schema=RUN))
    return pa.concat_tables(tables).combine_chunks()
