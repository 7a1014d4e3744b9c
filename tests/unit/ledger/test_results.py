"""The stage that writes both checkpoints' scores into the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ettin_retrieval.ledger import results
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from tests.workspace import ROOT


def test_an_entry_says_the_settings_that_its_scores_were_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of params.yaml now: `dvc repro results` does not write metrics/settings.json."""
    monkeypatch.chdir(ROOT)  # the commit is part of an entry
    manifest = {
        "split": "test", "source": "s", "revision": "1", "notes": {},
        "counts": {"corpus": 3, "queries_with_positive": 1},
    }  # fmt: skip
    write_json(tmp_path / "benchmark/Leases/manifest.json", manifest)
    write_json(tmp_path / "training/train/manifest.json", manifest)
    scored = pd.DataFrame({"query_id": ["q"], "ndcg_at_10": [0.5], "mrr_at_10": [0.5]})
    for checkpoint in ("base", "finetuned"):
        write_json(tmp_path / f"metrics/{checkpoint}.json", {"Leases.ndcg_at_10": 0.5})
        write_json(tmp_path / f"models/{checkpoint}/checkpoint.json", {"fingerprint": checkpoint})
        (tmp_path / "scores" / checkpoint).mkdir(parents=True)
        scored.to_parquet(tmp_path / "scores" / checkpoint / "Leases.queries.parquet")
    settings = load_settings(ROOT / "params.yaml")
    changed = settings.with_changes({"finetuning.learning_rate": 0.5})
    names = ("metrics", "scores", "models", "benchmark", "training", "results")
    results.run(changed, {name: tmp_path / name for name in names})
    entry = json.loads((tmp_path / "results/tiny/finetuned-guide-seed42.json").read_text())
    assert entry["provenance"]["settings"]["finetuning"]["learning_rate"] == 0.5
    assert entry["provenance"]["training_data"] == manifest
