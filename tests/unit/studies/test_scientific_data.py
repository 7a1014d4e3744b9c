"""Training data of the scientific domain."""

from __future__ import annotations

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import tiny
from ettin_retrieval.studies.scientific_data import load_scientific, together
from tests.unit.studies.inputs import SETTINGS, dataset


def test_collections_together_keep_their_judgments() -> None:
    both = together([dataset("one", 2), dataset("two", 3)])
    assert both.judgments() == {
        "0-q0": {"0-d0": 1}, "0-q1": {"0-d1": 1},
        "1-q0": {"1-d0": 1}, "1-q1": {"1-d1": 1}, "1-q2": {"1-d2": 1},
    }  # fmt: skip
    assert (both.origin.source, both.origin.licence) == ("one + two", "CC0-1.0")
    texts = dict(zip(both.queries["id"], both.queries["text"], strict=True))
    assert (texts["0-q1"], texts["1-q1"]) == ("one query 1", "two query 1")


def test_what_was_left_out_of_collections_is_counted_together() -> None:
    parts = [dataset("one", 2).with_notes(pairs_left_out_passage_missing=1), dataset("two", 3)]
    parts.append(dataset("three", 2).with_notes(pairs_left_out_passage_missing=2))
    assert together(parts).origin.notes == {"pairs_left_out_passage_missing": 3}


def test_the_tiny_track_has_the_generated_scientific_rows() -> None:
    datasets = load_scientific(SETTINGS)
    rows = tiny.training_rows("scientific")
    assert datasets["train"].queries["text"].tolist() == [row["query"] for row in rows["train"]]
    assert datasets["train"].teacher is not None


def test_a_track_without_two_domains_is_refused() -> None:
    with pytest.raises(InputError, match="has no second domain"):
        load_scientific(SETTINGS.with_changes({"model": "local"}))
