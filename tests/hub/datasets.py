"""Dataset repositories laid out as the published ones: MS MARCO, mined triplets, mteb's tasks."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = Mapping[str, Any]
Qrels = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Split to query id to passage id to score."""

STRINGS = pa.list_(pa.string())
MS_MARCO_SCHEMA = pa.schema(
    {
        "answers": STRINGS,
        "passages": pa.struct(
            {"is_selected": pa.list_(pa.int32()), "passage_text": STRINGS, "url": STRINGS}
        ),
        "query": pa.string(),
        "query_id": pa.int32(),
        "query_type": pa.string(),
        "wellFormedAnswers": STRINGS,
    }
)


def msmarco_files(configs: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, bytes]:
    """microsoft/ms_marco: configuration to split to rows in its nested schema."""
    files, patterns = {}, {}
    for config, splits in configs.items():
        for split, rows in splits.items():
            table = pa.Table.from_pylist(list(rows), MS_MARCO_SCHEMA)
            files[f"{config}/{split}-00000-of-00001.parquet"] = _parquet(table)
        patterns[config] = {split: f"{config}/{split}-*" for split in splits}
    return files | _readme(patterns)


def triplet_files(rows: Sequence[Row]) -> dict[str, bytes]:
    """Query, positive and negative as text, in two shards."""
    table, half = pa.Table.from_pylist(list(rows)), -(-len(rows) // 2)
    files = {
        f"triplet-hard/train-{number:05}-of-00002.parquet": _parquet(shard)
        for number, shard in enumerate((table[:half], table[half:]))
    }
    return files | _readme({"triplet-hard": {"train": "triplet-hard/train-*"}})


def retrieval_files(
    corpus: Mapping[str, Row], queries: Mapping[str, str], qrels: Qrels
) -> dict[str, bytes]:
    """A task of mteb as the BEIR collections are published: JSON lines."""
    rows: dict[str, list[dict[str, Any]]] = {
        f"qrels/{split}.jsonl": [
            {"query-id": query, "corpus-id": passage, "score": float(score)}
            for query, scores in judgments.items()
            for passage, score in scores.items()
        ]
        for split, judgments in qrels.items()
    }
    patterns = {
        "default": {split: f"qrels/{split}.jsonl" for split in qrels},
        "corpus": {"corpus": "corpus.jsonl"},
        "queries": {"queries": "queries.jsonl"},
    }
    rows["corpus.jsonl"] = [{"_id": key, **passage} for key, passage in corpus.items()]
    rows["queries.jsonl"] = [{"_id": key, "text": text} for key, text in queries.items()]
    files = {name: "".join(json.dumps(r) + "\n" for r in part) for name, part in rows.items()}
    return {name: text.encode() for name, text in files.items()} | _readme(patterns)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _readme(patterns: Mapping[str, Mapping[str, str]]) -> dict[str, bytes]:
    """The README that declares the files of each configuration's splits."""
    configs = [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for config, splits in patterns.items()
    ]
    return {"README.md": f"---\nconfigs: {json.dumps(configs)}\n---\n# Miniature\n".encode()}
