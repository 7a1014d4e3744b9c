"""Stage heldout: which tasks are on the list, whatever a run scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.data.heldout import read_manifest
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources.benchmark_data import heldout, mteb
from ettin_retrieval.tasks import CQADUPSTACK_PARTS, ENG_V2_TASKS, GUIDE_TASKS, TINY_TASKS, in_parts
from tests.collections import write_collection
from tests.workspace import ROOT


def listed(output: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the list that some settings give."""
    heldout.run(load_settings(ROOT / "params.yaml").with_changes(changes), {"heldout": output})
    return read_manifest(output)


def test_the_list_is_the_same_whatever_is_scored_and_cut(tmp_path: Path) -> None:
    whole = listed(tmp_path / "a", {})
    assert list(whole["tasks"]) == sorted(TINY_TASKS)
    assert whole["tasks"]["TinyMSMARCO"]["passages"] > 1000, "nothing is cut"
    scored = {"evaluation.tasks": ["TinySciFact"], "data.max_corpus_size": 50}
    assert listed(tmp_path / "b", scored) == whole
    assert listed(tmp_path / "c", {"evaluation.tasks": "guide"}) == whole


def test_all_own_collections_are_on_the_list_or_those_named(tmp_path: Path) -> None:
    for name in ("leases", "wills"):
        write_collection(tmp_path / "own" / name)
    local = {"model": "local", "local.benchmark": str(tmp_path / "own")}
    whole = listed(tmp_path / "a", local | {"evaluation.tasks": ["leases"]})
    assert list(whole["tasks"]) == ["leases", "wills"]
    assert whole["setting"] == "auto"
    named = listed(tmp_path / "b", local | {"data.heldout": ["wills"]})
    assert named["tasks"] == {"wills": whole["tasks"]["wills"]}
    assert named["sha256"] != whole["sha256"]
    with pytest.raises(InputError, match=r"params.yaml: data.heldout: 'deeds' is not in .*leases"):
        listed(tmp_path / "c", local | {"data.heldout": ["deeds"]})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "1b"}, {*GUIDE_TASKS, *ENG_V2_TASKS}),
        ({"model": "1b", "evaluation.tasks": "tiny"}, {*GUIDE_TASKS, *ENG_V2_TASKS}),
        ({"model": "1b", "data.heldout": "guide"}, {*GUIDE_TASKS}),
        ({"model": "1b", "data.heldout": "paper"}, {*ENG_V2_TASKS, "MSMARCO"}),
        ({"model": "local", "data.heldout": "eng-v2"}, {*ENG_V2_TASKS}),
        ({"model": "1b", "data.heldout": ["NQ"]}, {"NQ"}),
    ],
)
def test_of_mteb_both_benchmarks_are_on_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: set[str]
) -> None:
    asked: list[Any] = []

    def load(names: list[str], **given: Any) -> list[Any]:
        asked.append((names, given))
        return []

    monkeypatch.setattr(mteb, "load", load)
    listed(tmp_path / "list", changes)
    [(names, given)] = asked
    assert len(names) == len(set(names)) and set(names) == expected
    assert given == {"strict": False, "key": "data.heldout"}
    if "data.heldout" not in changes:
        parts = in_parts(names)
        assert len(parts) == len(set(parts)) == 30
        assert set(parts) >= CQADUPSTACK_PARTS


def test_an_unknown_task_names_the_setting_before_any_download(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params.yaml: data.heldout: unknown task 'SciFakt'"):
        listed(tmp_path / "list", {"model": "1b", "data.heldout": ["SciFact", "SciFakt"]})
