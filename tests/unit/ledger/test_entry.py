"""Entries: their key, their JSON, and what is refused."""

from __future__ import annotations

import json

import pytest

from ettin_retrieval.ledger.entry import SCHEMA, Entry
from ettin_retrieval.runtime.errors import InputError
from tests.ledgers import measurement


def test_a_fine_tuned_checkpoint_is_named_after_its_recipe() -> None:
    guide = measurement("1b", "finetuned", {"NQ": 0.5}).entry
    paper = measurement("1b", "finetuned", {"NQ": 0.5}, recipe="paper", seed=7).entry
    base = measurement("1b", "base", {"NQ": 0.5}).entry
    assert [entry.name for entry in (guide, paper, base)] == [
        "1b/finetuned-guide-seed42", "1b/finetuned-paper-seed7", "1b/base-seed42",
    ]  # fmt: skip
    assert (paper.model, paper.arm, paper.seed) == ("1b", "finetuned-paper", 7)


def test_an_entry_is_the_same_after_a_round_trip_through_json() -> None:
    entry = measurement("1b", "finetuned", {"NQ": 0.1}).entry
    content = entry.content()
    assert next(iter(content.items())) == ("schema", SCHEMA)
    assert Entry.of(json.loads(json.dumps(content)), "file") == entry


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scors": {}}, "file: not a ledger entry"),
        ({"checkpoint": "finetuned"}, "file: a fine-tuned checkpoint without recipe"),
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, object], message: str) -> None:
    content = measurement("1b", "base", {"NQ": 0.5}).entry.content()
    with pytest.raises(InputError, match=message):
        Entry.of(content | change, "file")
    with pytest.raises(InputError, match="file: not a ledger entry"):
        Entry.of({}, "file")
