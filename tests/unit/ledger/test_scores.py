"""The stage `scores`: the headline metrics of one checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from ettin_retrieval.ledger import scores
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from tests.workspace import ROOT


def test_the_selected_checkpoint_s_headline_metrics_are_copied(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.json" for name in ("base", "finetuned", "mteb")}
    headline = {"mteb_avg_ndcg_at_10": 0.5, "MSMARCO.mrr_at_10": 0.4, "NQ.ndcg_at_10": 0.6}
    write_json(paths["base"], headline | {"NQ.mrr_at_10": 0.7, "NQ.recall_at_100": 0.8})
    write_json(paths["finetuned"], {"NQ.ndcg_at_10": 0.9})
    settings = load_settings(ROOT / "params.yaml")
    for checkpoint, expected in (("base", headline), ("finetuned", {"NQ.ndcg_at_10": 0.9})):
        summary = scores.run(settings.model_copy(update={"checkpoint": checkpoint}), paths)
        assert summary == f"checkpoint {checkpoint}"
        assert json.loads(paths["mteb"].read_text()) == expected
