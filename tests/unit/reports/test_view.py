"""The view of the ledger that tables and plots share."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.ledger.table import Key, Measured
from ettin_retrieval.reports.view import View, models_in_order
from tests.ledgers import EXPECTED, write


def test_models_are_in_order_of_size_and_others_follow_by_name() -> None:
    names = ["zeta", "1b", "tiny", "bm25", "17m", "1b"]
    assert models_in_order(names) == ["tiny", "17m", "1b", "bm25", "zeta"]


def test_a_pair_is_of_one_model_and_seed(tmp_path: Path) -> None:
    for model, checkpoint, recipe, seed in (
        ("1b", "base", "guide", 2), ("1b", "base", "guide", 10), ("17m", "base", "guide", 1),
        ("1b", "finetuned", "paper", 2), ("1b", "finetuned", "guide", 10),
        ("1b", "finetuned", "guide", 2), ("17m", "finetuned", "guide", 1),
        ("17m", "finetuned", "guide", 3), ("400m", "finetuned", "guide", 2),
    ):  # fmt: skip
        write(tmp_path, model, checkpoint, {"NQ": 0.5}, recipe=recipe, seed=seed)
    assert [(base.name, tuned.name) for base, tuned in View.read(tmp_path, EXPECTED).pairs()] == [
        ("17m/base-seed1", "17m/finetuned-guide-seed1"),
        ("1b/base-seed2", "1b/finetuned-guide-seed2"),
        ("1b/base-seed10", "1b/finetuned-guide-seed10"),
        ("1b/base-seed2", "1b/finetuned-paper-seed2"),
    ]


def test_scores_and_queries_are_those_of_the_ledger(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"NQ": [0.25, 0.75]})
    view = View.read(tmp_path, EXPECTED)
    assert view.measured(Key("1b", "base", None, "NQ", "test", "mrr_at_10")) == Measured(0.5, 1)
    assert view.queries(view.entries[0])["ndcg_at_10"].tolist() == [0.25, 0.75]
