"""Training data of the scientific domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.data.heldout import write_heldout
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.training_data import write_training
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


def test_each_collection_is_decontaminated_before_they_are_merged(tmp_path: Path) -> None:
    """The second has 40% of all passages; its training queries share answers with its own test."""
    first, second = dataset("one", 9), dataset("two", 6)
    texts = [f"a test of {text}" for text in second.queries["text"]]
    texts[0] = second.queries["text"][0]
    test = replace(second, queries=second.queries.assign(text=texts))
    write_heldout([("Two", test)], "auto", tmp_path / "heldout")
    parts = {"One": first, "Two": second}
    output = tmp_path / "training"
    write_training(parts, tmp_path / "heldout", SETTINGS, output, together)
    report = read_json(output / "decontamination.json")
    removed = {name: counts["queries_removed"] for name, counts in report["sets"].items()}
    assert removed == {"One": 0, "Two": 1}
    assert report["sets"]["Two"]["tasks"]["Two"]["queries_with_the_same_answer"] == 6
    sets = [read_dataset(output / name) for name in ("train", "dev")]
    left = {query for part in sets for query in part.queries["id"]}
    assert left == {f"0-q{i}" for i in range(9)} | {f"1-q{i}" for i in range(1, 6)}
    for part in sets:
        assert part.origin.notes["queries_removed_for_overlap"] == 1
        assert part.origin.notes["heldout_tasks"] == ["Two"]


def test_the_tiny_track_has_the_generated_scientific_rows() -> None:
    datasets, merge = load_scientific(SETTINGS)
    assert merge is None
    rows = tiny.training_rows("scientific")
    assert datasets["train"].queries["text"].tolist() == [row["query"] for row in rows["train"]]
    assert datasets["train"].teacher is not None


def test_a_track_without_two_domains_is_refused() -> None:
    with pytest.raises(InputError, match="has no second domain"):
        load_scientific(SETTINGS.with_changes({"model": "local"}))
