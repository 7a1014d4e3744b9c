"""TODO: training.examples."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.runtime.errors import InputError


def training_examples(dataset: RetrievalDataset, pairs: list[Pair]) -> list[Example]:
    """Texts of the pairs and their negatives, with the teacher's scores where it has them all."""
    passages = dict(zip(dataset.corpus["id"], dataset.passage_texts(), strict=True))
    queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
    teacher = dataset.teacher_scores()
    rows = []
    for query_id, positive, negatives in pairs:
        scores = [teacher.get(query_id, {}).get(passage) for passage in (positive, *negatives)]
        known = [score for score in scores if score is not None]
        rows.append(
            Example(
                queries[query_id],
                passages[positive],
                [passages[n] for n in negatives],
                query_id=query_id,
                scores=known if len(known) == len(scores) else None,
            )
        )
    return rows


Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Example:
    """A query with a positive and its negatives, as texts.

    Attributes
    ----------
    scores
        The teacher's: of the positive first, then of each negative. None without a teacher.
    """

    query: str
    positive: str
    negatives: list[str]
    query_id: str = ""
    scores: list[float] | None = None


@dataclass(frozen=True)
class TrainingRows:
    """What an objective's loss reads, with a number for each text: millions of rows stay small.

    Attributes
    ----------
    columns
        Names of the columns of texts; the first is `query`, the others are passages.
    texts
        Of shape (rows, columns): numbers of texts, equal for equal texts.
    labels
        Of shape (rows,), for objectives that have them.
    query_ids
        Id of each row's query.
    """

    columns: list[str]
    texts: Numbers
    labels: npt.NDArray[np.float32] | None
    query_ids: list[str]

    def __len__(self) -> int:
        return len(self.query_ids)


def training_rows(examples: list[Example], objective: str) -> tuple[TrainingRows, list[str]]:
    """Rows of the training set that an objective's loss reads, and the texts by their number.

    >>> example = Example("q", "p", ["n", "m"], query_id="q1")
    >>> rows, texts = training_rows([example], "triplet")
    >>> rows.columns, rows.texts.tolist(), rows.query_ids, texts
    (['query', 'positive', 'negative'], [[0, 1, 2], [0, 1, 3]], ['q1', 'q1'], ['q', 'p', 'n', 'm'])

    Raises
    ------
    InputError
        Contrastive rows of different numbers of negatives (a corpus smaller than what was asked
        for); margin-MSE rows without a teacher's scores.
    """
    columns = _columns(examples, objective)
    numbers: dict[str, int] = {}
    cells, labels = array("i"), array("f")
    query_ids: list[str] = []
    for example in examples:
        for texts, label in rows_of(example, objective):
            cells.extend([numbers.setdefault(text, len(numbers)) for text in texts])
            query_ids.append(example.query_id)
            if label is not None:
                labels.append(label)
    rows = TrainingRows(
        columns,
        np.frombuffer(cells, dtype=np.int32).reshape(-1, len(columns)),
        np.frombuffer(labels, dtype=np.float32) if labels else None,
        query_ids,
    )
    return rows, list(numbers)


def rows_of(example: Example, objective: str) -> list[tuple[tuple[str, ...], float | None]]:
    """The texts of each row that an example makes, and the row's label.

    >>> one = Example("q", "p", ["n", "m"])
    >>> rows_of(one, "contrastive")
    [(('q', 'p', 'n', 'm'), None)]
    >>> rows_of(one, "triplet")
    [(('q', 'p', 'n'), None), (('q', 'p', 'm'), None)]
    >>> rows_of(one, "cosine_similarity")
    [(('q', 'p'), 1.0), (('q', 'n'), 0.0), (('q', 'm'), 0.0)]
    >>> taught = Example("q", "p", ["n", "m"], scores=[1.0, 0.25, 0.5])
    >>> rows_of(taught, "margin_mse")
    [(('q', 'p', 'n'), 0.75), (('q', 'p', 'm'), 0.5)]

    Raises
    ------
    InputError
        A margin-MSE row without a teacher's scores.
    """
    query, positive, negatives = example.query, example.positive, example.negatives
    if objective == "margin_mse":
        return _margins(example)
    if objective == "triplet":
        return [((query, positive, negative), None) for negative in negatives]
    if objective == "cosine_similarity":
        return [((query, positive), 1.0), *(((query, negative), 0.0) for negative in negatives)]
    return [((query, positive, *negatives), None)]


def _margins(example: Example) -> list[tuple[tuple[str, ...], float | None]]:
    """Query, positive and negative, with the teacher's margin between the two."""
    if example.scores is None:
        raise InputError(
            "finetuning.objective: margin_mse needs a teacher's score of the positive and of each "
            f"negative, and the query {example.query!r} lacks one; run `dvc repro negatives` to "
            "choose negatives that have one"
        )
    best, *others = example.scores
    return [
        ((example.query, example.positive, negative), best - score)
        for negative, score in zip(example.negatives, others, strict=True)
    ]


def _columns(examples: list[Example], objective: str) -> list[str]:
    """Names of the columns of texts."""
    if objective == "cosine_similarity":
        return ["query", "passage"]
    if objective != "contrastive":
        return ["query", "positive", "negative"]
    counts = {len(e.negatives) for e in examples}
    if len(counts) > 1:
        raise InputError(
            f"negatives.num_negatives: some queries have only {min(counts)} possible negatives, "
            f"others {max(counts)}; ask for at most {min(counts)}"
        )
    return ["query", "positive", *(f"negative_{i + 1}" for i in range(max(counts)))]
