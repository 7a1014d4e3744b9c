"""mteb tasks as datasets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.benchmark_data import mteb

CORPUS: list[dict[str, Any]] = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
QUERIES: list[dict[str, Any]] = [{"id": "q", "text": "x"}]
QRELS: dict[Any, Any] = {"q": {"b": 0, "a": 2}}


class Task:
    """A task whose data is as mteb loads it."""

    metadata = SimpleNamespace(dataset={"path": "me/it", "revision": "1"}, license=None)

    def __init__(
        self, corpus: list[Any] = CORPUS, queries: list[Any] = QUERIES, qrels: Any = QRELS
    ) -> None:
        tables = {"corpus": Dataset.from_list(corpus), "queries": Dataset.from_list(queries)}
        self.dataset = {"default": {"test": {**tables, "relevant_docs": qrels}}}

    def filter_eval_splits(self, splits: list[str]) -> Task:
        return self

    def load_data(self) -> None:
        if self.dataset["default"]["test"]["relevant_docs"] == "half":
            pa.array([0.5]).cast(pa.int32())

    def unload_data(self) -> None:
        pass


def test_an_unknown_task_is_refused_before_any_download() -> None:
    # The Hub cannot be reached in tests: using it would be another error.
    with pytest.raises(InputError, match="unknown task 'SciFakt'"):
        next(mteb.load(["SciFact", "SciFakt"]))


def test_a_task_is_read_with_its_judgments_in_order() -> None:
    queries = [*QUERIES, {"id": "unjudged", "text": "y"}]
    dataset = mteb._read(Task(queries=queries), "test", strict=True)
    assert dataset.judgments() == {"q": {"a": 2, "b": 0}}
    assert list(dataset.judgments()["q"]) == ["a", "b"]
    assert dataset.passage_texts() == ["x", "y"]
    assert dataset.queries["id"].tolist() == ["q"], "as mteb, which scores judged queries"


def test_flaws_are_counted_or_refused_if_strict() -> None:
    flawed = {"q": {"a": 1, "b": -1, "lost": 1}}
    dataset = mteb._read(Task(qrels=flawed), "test", strict=False)
    assert dataset.judgments() == {"q": {"a": 1, "b": 0, "lost": 1}}
    assert dataset.origin.notes == {"negative_scores_as_0": 1}
    assert dataset.manifest()["counts"]["relevant_judgments_of_missing_passages"] == 1
    with pytest.raises(InputError, match="hub dataset me/it test: qrels row 3: corpus_id 'lost'"):
        mteb._read(Task(qrels=flawed), "test", strict=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"qrels": "half"}, "a column has another type than mteb reads: Float value 0.5"),
        ({"qrels": {"q": {"a": 0.5}}}, "the judgment ('q', 'a', 0.5) is not two ids and a whole"),
        ({"qrels": {"q": {"a": float("nan")}}}, "the judgment ('q', 'a', nan) is not two ids"),
        ({"qrels": {"q": {"a": float("inf")}}}, "the judgment ('q', 'a', inf) is not two ids"),
        ({"qrels": {"q": {"a": None}}}, "the judgment ('q', 'a', None) is not two ids"),
        ({"qrels": {"q": {"a": True}}}, "the judgment ('q', 'a', True) is not two ids"),
        ({"qrels": {"q": {"a": "1"}}}, "the judgment ('q', 'a', '1') is not two ids"),
        ({"qrels": {None: {"a": 1}}}, "the judgment (None, 'a', 1) is not two ids"),
        ({"qrels": {"q": {"a": 1001}}}, "qrels row 1: score 1001 is above 1,000"),
        ({"qrels": {"q": {"a": 1, "b\0": 1}}}, "qrels row 2: corpus_id 'b\\x00' contains NUL"),
        ({"corpus": [{"id": "a", "text": 7}]}, "corpus row 1: text is"),
        ({"corpus": [{"id": "a", "text": ["x"]}]}, "corpus row 1: text is"),
        ({"corpus": [*CORPUS, {"id": None, "text": "z"}]}, "corpus row 3: the id is empty"),
        ({"queries": [{"id": "q", "text": None}]}, "queries row 1: query 'q' has no text"),
    ],
)
def test_data_of_another_kind_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        mteb._read(Task(**data), "test", strict=False)
    assert str(refused.value).startswith(f"hub dataset me/it test: {message}")


def test_another_revision_than_mteb_pins_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published figures are of a revision of their own; the next load is of mteb's again."""
    resolved: list[str] = []
    read: list[str] = []
    monkeypatch.setattr(
        "ettin_retrieval.hub.resolve_commit", lambda path, revision, kind: resolved.append(revision)
    )
    monkeypatch.setattr(
        mteb, "_read", lambda task, *_: read.append(task.metadata.dataset["revision"])
    )
    list(mteb.load(["SciFact"], revision="a" * 40))
    list(mteb.load(["SciFact"]))
    assert resolved == read == ["a" * 40, read[1]]
    assert read[1] != read[0]
