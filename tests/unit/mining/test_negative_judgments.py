"""A judgment below 0 is one of 0: not a positive, and a candidate of the source `row`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.mining.mine import mine
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import beir
from tests.collections import write_collection
from tests.workspace import ROOT


@pytest.mark.parametrize("score", [0, -1, -2])
def test_judged_not_relevant(tmp_path: Path, score: int) -> None:
    write_collection(tmp_path / "leases")
    qrels = tmp_path / "leases" / "qrels" / "train.tsv"
    qrels.write_text(f"q0-1\trent1\t2\nq0-1\tpets2\t{score}\nq0-1\tkeys2\t{score}\n")
    negatives = {"sampling": "random", "source": "row", "num_negatives": 2}
    settings = load_settings(ROOT / "params.yaml").with_changes(
        {f"negatives.{key}": value for key, value in negatives.items()}
    )
    dataset = beir.load(tmp_path / "leases", "train")
    [(query, positive, chosen)], report = mine(dataset, None, settings)
    assert (query, positive, sorted(chosen)) == ("q0-1", "rent1", ["keys2", "pets2"])
    assert report.filled_at_random == 0


def test_only_negative_judgments_are_no_training_data(tmp_path: Path) -> None:
    write_collection(tmp_path / "leases")
    (tmp_path / "leases" / "qrels" / "train.tsv").write_text("q0-1\trent1\t-1\n")
    with pytest.raises(InputError, match=r"train.tsv:1: no judgment has a score above 0"):
        beir.load(tmp_path / "leases", "train")
