"""From training pairs to the rows that an objective's loss reads."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.data.normalisation import hash_texts
from ettin_retrieval.runtime.errors import InputError

TextNumbers = npt.NDArray[np.int32]

Known = Mapping[int, frozenset[int]]
"""Number of a query's text to those of the passages known to be relevant to it, of queries that
have several."""


@dataclass(frozen=True, slots=True)
class Example:
    """Texts of a query, a positive and its negatives."""

    query: str
    positive: str
    negatives: list[str]
    query_id: str = ""
    scores: list[float] | None = None  # a teacher's, of the positive and of each negative
    relevant: tuple[int, ...] = ()  # hashes of all texts judged relevant, where there are several


def training_examples(dataset: RetrievalDataset, pairs: list[Pair]) -> list[Example]:
    """Texts of the pairs and their negatives, with the teacher's scores where all are known.

    And with what is known to be relevant to the query, from all judgments of the training set.
    """
    passages = dict(zip(dataset.corpus["id"], dataset.passage_texts(), strict=True))
    queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
    teacher = dataset.teacher_scores()
    relevant = relevant_texts(dataset, passages)
    examples = []
    for query, positive, negatives in pairs:
        of_query = teacher.get(query, {})
        scores: list[Any] = [of_query.get(passage) for passage in (positive, *negatives)]
        texts = [passages[negative] for negative in negatives]
        known = scores if None not in scores else None
        example = Example(queries[query], passages[positive], texts, query, known)
        examples.append(replace(example, relevant=relevant.get(query, ())))
    return examples


def relevant_texts(
    dataset: RetrievalDataset, passages: dict[str, str]
) -> dict[str, tuple[int, ...]]:
    """Query id to the hashes of the texts judged relevant to its question, where it has several.

    Judgments of all queries with one text count together, as in mining.

    Parameters
    ----------
    passages
        Passage id to text.
    """
    judged = dataset.qrels[(dataset.qrels["score"] > 0) & ~dataset.missing()]
    numbers, _ = pd.factorize(hash_texts(dataset.queries["text"].tolist()))
    questions = pd.Series(numbers, index=dataset.queries["id"])
    question = judged["query_id"].map(questions)
    # Most questions of MS MARCO have one relevant passage, whose text need not be hashed.
    several = question.duplicated(keep=False)
    passage, ids = pd.factorize(judged["corpus_id"][several])
    hashes = pd.Series(hash_texts([passages[passage_id] for passage_id in ids])[passage])
    known: dict[Any, tuple[int, ...]] = {
        number: tuple(different.tolist())
        for number, different in hashes.groupby(question[several].to_numpy()).unique().items()
        if len(different) > 1
    }
    asked = zip(dataset.queries["id"], numbers.tolist(), strict=True)
    return {query: known[number] for query, number in asked if number in known}


@dataclass(frozen=True)
class TrainingRows:
    """What a loss reads, with a number for each text: millions of rows stay small."""

    numbers: TextNumbers  # of shape (rows, columns): a query and passages; equal for equal texts
    labels: npt.NDArray[np.float32] | None  # of shape (rows,), for objectives that have them
    query_ids: list[str]
    texts: list[str]  # by number
    relevant: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Number of a query to the hashes of the texts known to be relevant to it."""

    def compared(self) -> tuple[TextNumbers, Known]:
        """`numbers` with one number for all texts that are the same after normalisation.

        And, in these numbers, the passages of any row that are known to be relevant to a query.

        >>> rows = training_rows([Example("q", "A  city", ["n"]), Example("Q", "a city", ["m"])],
        ...                      "contrastive")
        >>> rows.numbers.tolist(), rows.compared()[0].tolist()
        ([[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [0, 1, 3]])
        """
        numbers, different = pd.factorize(hash_texts(self.texts))
        judged = np.fromiter(chain.from_iterable(self.relevant.values()), dtype=np.uint64)
        found = iter(pd.Index(different).get_indexer(pd.Index(judged)).tolist())
        known: dict[int, frozenset[int]] = {}
        for query, hashes in self.relevant.items():
            here = {next(found) for _ in hashes} - {-1}  # -1: in no row
            query = int(numbers[query])
            known[query] = known.get(query, frozenset()) | here
        return numbers.astype(np.int32)[self.numbers], known


def training_rows(examples: list[Example], objective: str) -> TrainingRows:
    """The rows of all examples.

    >>> rows = training_rows([Example("q", "p", ["n", "m"], query_id="q1")], "triplet")
    >>> rows.numbers.tolist(), rows.query_ids, rows.texts
    ([[0, 1, 2], [0, 1, 3]], ['q1', 'q1'], ['q', 'p', 'n', 'm'])

    Raises
    ------
    InputError
        Contrastive rows with different numbers of negatives, margin-MSE rows without scores, or
        no row at all, or rows that all have the same label, from which nothing can be learnt.
    """
    counts = {len(example.negatives) for example in examples}
    if objective == "contrastive" and len(counts) > 1:
        raise InputError(
            f"negatives.num_negatives: some queries have only {min(counts)} possible negatives, "
            f"others {max(counts)}; set at most {min(counts)}"
        )
    numbers: dict[str, int] = {}
    cells, labels = array("i"), array("f")
    query_ids: list[str] = []
    relevant: dict[int, tuple[int, ...]] = {}
    for example in examples:
        for texts, label in rows_of(example, objective):
            cells.extend([numbers.setdefault(text, len(numbers)) for text in texts])
            query_ids.append(example.query_id)
            if label is not None:
                labels.append(label)
        if example.relevant and example.query in numbers:
            relevant[numbers[example.query]] = example.relevant
    if not query_ids:
        raise InputError(
            f"finetuning.objective: {objective} has no row to train on: no pair of a query and a "
            "relevant passage has a negative; set another negatives.source, or give more passages"
        )
    table = np.frombuffer(cells, dtype=np.int32).reshape(len(query_ids), -1)
    of_rows = np.frombuffer(labels, dtype=np.float32) if labels else None
    if of_rows is not None and len(of_rows) > 1 and (of_rows == of_rows[0]).all():
        raise InputError(
            f"finetuning.objective: {objective} cannot learn from {len(of_rows):,} rows that all "
            f"have the label {of_rows[0]:g}; {WHY_LABELS_ARE_EQUAL[objective]}"
        )
    return TrainingRows(table, of_rows, query_ids, list(numbers), relevant)


WHY_LABELS_ARE_EQUAL = {
    "cosine_similarity": "no pair has a negative, so set another negatives.source",
    "margin_mse": "the teacher's scores of positives and negatives differ by this everywhere, so "
    "give other scores, or choose the objective triplet",
}
"""What to do about it, by the objectives that have labels."""


def rows_of(example: Example, objective: str) -> list[tuple[tuple[str, ...], float | None]]:
    """Texts and label of each row of an example.

    >>> example = Example("q", "p", ["n", "m"], scores=[1.0, 0.25, 0.5])
    >>> rows_of(example, "contrastive")
    [(('q', 'p', 'n', 'm'), None)]
    >>> rows_of(example, "triplet")
    [(('q', 'p', 'n'), None), (('q', 'p', 'm'), None)]
    >>> rows_of(example, "cosine_similarity")
    [(('q', 'p'), 1.0), (('q', 'n'), 0.0), (('q', 'm'), 0.0)]
    >>> rows_of(example, "margin_mse")
    [(('q', 'p', 'n'), 0.75), (('q', 'p', 'm'), 0.5)]
    """
    query, positive, negatives = example.query, example.positive, example.negatives
    if objective == "contrastive":
        return [((query, positive, *negatives), None)]
    if objective == "cosine_similarity":
        return [((query, positive), 1.0), *(((query, negative), 0.0) for negative in negatives)]
    triplets = [(query, positive, negative) for negative in negatives]
    if objective == "triplet":
        return [(triplet, None) for triplet in triplets]
    if example.scores is None:
        raise InputError(
            "finetuning.objective: margin_mse needs a teacher's score of the positive and of each "
            f"negative, and the query {query!r} lacks one; run `dvc repro negatives` to choose "
            "negatives that have one"
        )
    of_positive, *of_negatives = example.scores
    return list(zip(triplets, [of_positive - score for score in of_negatives], strict=True))
