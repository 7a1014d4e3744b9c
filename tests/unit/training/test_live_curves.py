"""DVCLive's curves while training."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.training_inputs import settings, trained


def test_dvclive_has_the_curve_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Git repository without commits, in which DVCLive finds no revision.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    _, curve = trained(tmp_path, settings())
    live = tmp_path / "work" / "live" / "plots" / "metrics"
    loss = pd.read_csv(live / "loss.tsv", sep="\t")
    assert list(zip(loss["step"], loss["loss"], strict=True)) == curve.loss
    dev = pd.read_csv(live / "dev_ndcg_at_10.tsv", sep="\t")
    assert list(zip(dev["step"], dev["dev_ndcg_at_10"], strict=True)) == curve.dev[1:]
