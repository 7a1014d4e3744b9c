"""Stage scores: the selected checkpoint's headline metrics, at the path all experiments share."""

from __future__ import annotations

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.files import read_json, write_json
from ettin_retrieval.settings.schema import Settings

HEADLINE = ("ndcg_at_10", "MSMARCO.mrr_at_10")
"""Endings of the metrics shown: averages, nDCG@10, and MRR@10 of MS MARCO, its official metric."""


def run(settings: Settings, paths: Paths) -> str:
    """Copy the headline metrics of base or finetuned, as `checkpoint` selects."""
    scores = read_json(paths[settings.checkpoint])
    write_json(paths["mteb"], {k: v for k, v in scores.items() if k.endswith(HEADLINE)})
    return f"checkpoint {settings.checkpoint}"


if __name__ == "__main__":
    run_stage("scores", run, reads=["base", "finetuned"], writes=["mteb"])
