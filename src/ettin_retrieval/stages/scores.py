"""Stage scores: the metrics of the selected checkpoint, at the one path that experiments share."""

from __future__ import annotations

import json

from ettin_retrieval.params import Settings
from ettin_retrieval.records import write_json
from ettin_retrieval.stages import Paths, run_stage

HEADLINE = ("ndcg_at_10", "MSMARCO.mrr_at_10")


def body(settings: Settings, paths: Paths) -> str:
    """Copy the headline metrics of base or finetuned, as `checkpoint` says.

    The average, nDCG@10 of every task, and MRR@10 of MS MARCO, whose official metric it is: one
    line a task in `dvc metrics diff`.
    """
    scores = json.loads(paths[settings.checkpoint].read_text(encoding="utf-8"))
    headline = {key: value for key, value in scores.items() if key.endswith(HEADLINE)}
    write_json(paths["mteb"], headline)
    return f"checkpoint {settings.checkpoint}"


if __name__ == "__main__":
    run_stage("scores", body, reads=["base", "finetuned"], writes=["mteb"])
