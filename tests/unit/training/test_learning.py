"""Training that cannot learn is refused: by the settings, by the rows, or after an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.examples import Example, training_rows
from tests.training_inputs import scored_examples, settings, train_examples, trained
from tests.unit.training.conftest import Calls, Change


def changed(**changes: Any) -> Settings:
    return settings().with_changes({key.replace("__", "."): v for key, v in changes.items()})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"negatives__num_negatives": 0, "finetuning__batch_size": 1}, "batch_size: must be 2 or"),
        ({"negatives__num_negatives": 0, "data__max_train_queries": 1}, "max_train_queries: must"),
        ({"negatives__num_negatives": 0, "finetuning__objective": "triplet"}, "needs 1 or more"),
        (
            {"negatives__num_negatives": 0, "finetuning__objective": "cosine_similarity"},
            "needs 1 or more, not 0",
        ),
        ({"finetuning__margin": 0.0}, "greater than 0"),
        ({"finetuning__learning_rate": 0.0}, "greater than or equal to 0.000000001"),
        ({"finetuning__learning_rate": 1e-12}, "greater than or equal to 0.000000001"),
        ({"finetuning__learning_rate": 2.0}, "less than or equal to 1"),
        ({"finetuning__temperature": 1e-6}, "greater than or equal to 0.001"),
        ({"finetuning__temperature": 1e6}, "less than or equal to 100"),
        (
            {"finetuning__learning_rate": 0.01, "finetuning__weight_decay": 100.0},
            "weight_decay: 100 must be below 1 / learning_rate 0.01",
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_learn_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        changed(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"negatives__num_negatives": 1, "finetuning__batch_size": 1},
        {"negatives__num_negatives": 0, "finetuning__batch_size": 2},
        {"negatives__num_negatives": 0, "data__max_train_queries": 2},
        {"finetuning__objective": "triplet", "finetuning__batch_size": 1},
    ],
    ids=str,
)
def test_settings_beside_them_are_not(changes: dict[str, Any]) -> None:
    changed(**changes)


POSITIVES = [Example(f"q{i}", f"p{i}", [], f"q{i}", [0.5]) for i in range(4)]
EQUAL_TEACHER = [Example(f"q{i}", f"p{i}", [f"n{i}"], f"q{i}", [0.5, 0.5]) for i in range(4)]


@pytest.mark.parametrize(
    ("objective", "examples", "said"),
    [
        ("cosine_similarity", POSITIVES, "4 rows that all have the label 1"),
        ("margin_mse", EQUAL_TEACHER, "4 rows that all have the label 0; the teacher's scores"),
        ("margin_mse", POSITIVES, "no row to train on"),
        ("triplet", POSITIVES, "no row to train on"),
        ("contrastive", [], "no row to train on"),
    ],
)
def test_rows_that_cannot_teach_are_refused(
    objective: str, examples: list[Example], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        training_rows(examples, objective)
    training_rows(scored_examples(4), objective)


def without_negatives(count: int, queries: int, passages: int) -> list[Example]:
    pairs = [(f"ash {i % queries}", f"elm {i % passages}") for i in range(count)]
    return [Example(query, passage, [], f"q{i}") for i, (query, passage) in enumerate(pairs)]


@pytest.mark.parametrize(("queries", "passages"), [(1, 6), (6, 1)])
def test_rows_that_are_all_alone_in_their_batches_are_refused_before_training(
    queries: int, passages: int, tmp_path: Path
) -> None:
    given = changed(negatives__num_negatives=0)
    with pytest.raises(InputError, match="each of the 6 rows is alone in its batch"):
        trained(tmp_path, given, without_negatives(6, queries, passages))


def test_rows_of_which_some_are_alone_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Three rows share a query, so two of three batches have one row.
    rows = [*without_negatives(3, 1, 3), Example("fir", "gum", [], "fir")]
    trained(tmp_path / "some", changed(negatives__num_negatives=0), rows)
    assert "2 of 4 rows are alone in their batch" in caplog.text
    caplog.clear()
    trained(tmp_path / "none", changed(negatives__num_negatives=0), without_negatives(8, 8, 8))
    assert "alone" not in caplog.text
    # With negatives of its own, a row alone has something to learn.
    trained(tmp_path / "one", settings(batch_size=1, epochs=1))


def test_a_loss_that_stays_at_0_stops_training(
    tmp_path: Path, change_losses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nothing: Change = lambda call, loss: loss * 0  # noqa: E731
    calls: Calls = change_losses(nothing)
    with pytest.raises(InputError, match="the loss is 0 at each of the first 5 steps"):
        trained(tmp_path, settings(epochs=9))
    assert len(calls) == 5, "one epoch of nine"


def test_a_loss_that_is_0_at_times_does_not(tmp_path: Path, change_losses: Any) -> None:
    change_losses(lambda call, loss: loss * (call == 5))
    _, curve = trained(tmp_path, settings(epochs=2), train_examples())
    assert curve.dev[-1][0] == 10
