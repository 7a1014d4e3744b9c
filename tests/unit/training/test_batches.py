"""Batches of every epoch, the shares of each rank, and their features."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from ettin_retrieval.training.batches import Share, SharedBatches, TrainingFeatures
from ettin_retrieval.training.examples import Example, Known, training_rows
from tests.training_inputs import encoder, settings


def batches(
    *columns: list[int],
    size: int,
    seed: int = 1,
    epochs: int = 1,
    contrastive: bool = True,
    rank: int = 0,
    world_size: int = 1,
    known: Known | None = None,
) -> SharedBatches:
    """Batches of rows whose texts are given as numbers, column by column."""
    texts = np.array(columns, dtype=np.int32).T
    return SharedBatches(texts, size, seed, epochs, contrastive, rank, world_size, known)


def rows(made: SharedBatches) -> list[list[int]]:
    return [share.rows for share in made]


def test_no_batch_holds_a_text_twice() -> None:
    passages = [100 + i % 5 for i in range(20)]
    made = rows(batches(list(range(20)), passages, size=4))
    assert sorted(row for batch in made for row in batch) == list(range(20))
    for batch in made:
        assert len({passages[row] for row in batch}) == len(batch)
    # Other objectives contrast with no other row, so a text may be in a batch twice.
    others = batches(list(range(20)), passages, size=20, contrastive=False)
    assert [len(batch) for batch in rows(others)] == [20]


def test_every_row_is_in_one_batch_of_each_epoch_however_often_texts_repeat() -> None:
    """As in NFCorpus, where a query has dozens of relevant passages."""
    queries = (np.random.default_rng(0).zipf(1.3, size=300) % 40).tolist()
    made = batches(queries, [1000 + i for i in range(300)], size=16, seed=3, epochs=3)
    assert len(made) > math.ceil(300 / 16), "rows alone would fill fewer batches"
    for epoch in range(3):
        made.set_epoch(epoch)
        of_epoch = rows(made)
        assert len(of_epoch) == len(made), "the learning rate schedule counts on it"
        assert sorted(row for batch in of_epoch for row in batch) == list(range(300))
        for batch in of_epoch:
            assert len({queries[row] for row in batch}) == len(batch) <= 16


def test_batches_are_those_of_sentence_transformers() -> None:
    """The same rows in the same order, which the committed figures were made with."""
    passages = [1000 + i * i % 37 for i in range(100)]
    theirs = NoDuplicatesBatchSampler(
        Dataset.from_dict({"query": list(range(100)), "positive": passages}),
        batch_size=8, drop_last=False, valid_label_columns=["label"],
        generator=torch.Generator(), seed=42,
    )  # fmt: skip
    theirs.set_epoch(0)
    assert rows(batches(list(range(100)), passages, size=8, seed=42)) == list(theirs)


@pytest.mark.parametrize("contrastive", [True, False])
def test_only_seed_and_epoch_decide_the_order(contrastive: bool) -> None:
    def order(epoch: int, seed: int = 1) -> list[list[int]]:
        made = batches(list(range(8)), size=4, seed=seed, epochs=2, contrastive=contrastive)
        made.batch_sampler.set_epoch(epoch)  # as transformers does
        return rows(made)

    # Not the epochs before: a resumed run begins in the middle.
    assert order(1) == order(1)
    assert order(1) != order(0)
    assert order(1) != order(1, seed=5)


def test_the_shares_of_all_ranks_make_up_the_batch() -> None:
    numbers = list(range(13))
    made = rows(batches(numbers, size=4, contrastive=False))
    shares = [
        list(batches(numbers, size=4, contrastive=False, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    for batch, *of_ranks in zip(made, *shares, strict=True):
        # The last batch is a single row: the second rank has it too, and does not count it.
        counted = [row for share in of_ranks for row in share.rows[: share.counted]]
        assert counted == batch
        assert all(share.rows for share in of_ranks), "every rank calls the encoder"


def test_a_contrastive_batch_that_does_not_divide_stays_whole() -> None:
    numbers = list(range(7))
    first, last = rows(batches(numbers, size=4))
    shares = [list(batches(numbers, size=4, rank=rank, world_size=2)) for rank in (0, 1)]
    assert shares[0][0].rows + shares[1][0].rows == first
    assert shares[0][1] == shares[1][1] and shares[0][1].rows == last and len(last) == 3
    assert [share.divided for share in shares[0]] == [True, False]


QUERIES, POSITIVES, NEGATIVES = list(range(14)), list(range(100, 114)), list(range(200, 214))
KNOWN: Known = {
    query: frozenset({100 + query, 100 + (query + 1) % 14, 200 + (query + 5) % 14, 999})
    for query in range(0, 14, 2)
}
"""Relevant to every second query: its positive, the next one's, the negative of the fifth after it,
and a passage that no row has."""


def test_what_is_known_to_be_relevant_is_left_out_of_every_batch() -> None:
    made = batches(QUERIES, POSITIVES, NEGATIVES, size=8, known=KNOWN)
    total = 0
    for share in made:
        passages = [100 + row for row in share.rows] + [200 + row for row in share.rows]
        expected = [
            (place, column)
            for place, query in enumerate(share.rows)
            for column, passage in enumerate(passages)
            if passage in KNOWN.get(query, ()) and passage != 100 + query
        ]
        assert list(share.left_out) == expected
        total += len(expected)
    # Batches of 8 and 6 rows with two passages each, of which the row's own positive is none.
    assert made.contrasts() == (8 * 15 + 6 * 11, total) and total > 3


def test_a_passage_that_a_row_has_twice_is_left_out_twice() -> None:
    made = batches([1, 2], [11, 12], [22, 12], size=2, known={1: frozenset({11, 12})})
    (share,) = made
    place = share.rows.index(0)
    assert share.left_out == [(place, 1 - place), (place, 3 - place)]


def test_ranks_leave_out_what_one_would() -> None:
    whole = list(batches(QUERIES, POSITIVES, NEGATIVES, size=10, known=KNOWN))
    shared = [
        list(batches(QUERIES, POSITIVES, NEGATIVES, size=10, known=KNOWN, rank=rank, world_size=4))
        for rank in range(4)
    ]  # batches of 10 and 4 rows: the first does not divide, and goes whole to every rank
    first, last = whole
    assert all(of_rank[0] == first._replace(divided=False) for of_rank in shared)
    together = [
        (rank + row, column) for rank in range(4) for row, column in shared[rank][1].left_out
    ]
    assert together == last.left_out and together
    assert {len(of_rank[1].rows) for of_rank in shared} == {1}


def test_other_objectives_leave_nothing_out() -> None:
    made = batches(QUERIES, POSITIVES, NEGATIVES, size=8, contrastive=False, known=KNOWN)
    assert [list(share.left_out) for share in made] == [[], []]


def test_weighted_losses_of_all_ranks_average_to_the_mean_over_rows() -> None:
    of_row, numbers = np.arange(13.0), list(range(13))
    total = 0.0
    for rank in range(3):
        ours = batches(numbers, size=5, contrastive=False, rank=rank, world_size=3)
        shares = list(ours)
        for share, weight in zip(shares, ours.weights(shares), strict=True):
            total += weight * of_row[share.rows].mean() / len(shares) / 3
    assert total == pytest.approx(of_row.mean())
    whole = batches(numbers, size=5, world_size=3)
    assert whole.weights(list(whole)) == [1, 1, 1]


def test_features_are_those_of_preprocess_with_its_prompts(tmp_path: Path) -> None:
    """As in mining and evaluation."""
    model = encoder(tmp_path / "encoder", settings())
    model.prompts = {"query": "date "}
    examples = [Example("elm", "elm and fir", ["gum"], "q0"), Example("fir", "elm", ["gum"], "q1")]
    features = TrainingFeatures(model, training_rows(examples, "contrastive"))
    assert len(features) == 2
    batch = features.__getitems__(Share([1, 0], 2, 2, divided=True))
    assert batch["query_ids"] == ["q1", "q0"] and "label" not in batch
    masked = features.__getitems__(Share([1, 0], 2, 2, divided=True, left_out=[(0, 1)]))
    assert masked["label"].tolist() == [[0, 1]]
    columns = {
        "query_0": ["date fir", "date elm"],
        "passage_1": ["elm", "elm and fir"],
        "passage_2": ["gum", "gum"],
    }
    for column, texts in columns.items():
        task = "query" if column == "query_0" else "document"
        assert batch[f"{column}_task"] == task
        for name, theirs in model.preprocess(texts, task=task).items():
            ours = batch[f"{column}_{name}"]
            assert torch.equal(ours, theirs) if name != "modality" else ours == theirs
