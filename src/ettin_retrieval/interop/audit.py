"""An audit of the mined negatives: how many of them a teacher holds to be relevant.

Judgments are sparse, so some of the nearest passages are relevant although no one has judged them.
RocketQA (Qu et al., 2021, https://arxiv.org/abs/2010.08191) removes such hard negatives by the
scores of a cross-encoder. NV-Retriever (Moreira et al., 2024, https://arxiv.org/abs/2407.15831)
compares a negative's score with that of the pair's positive. So does the audit:

    a negative is relevant if the teacher scores it at least as high as the pair's positive.

This is the threshold of NV-Retriever's TopK-PercPos at 100 %. A teacher errs too, so the rate is an
estimate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import FILE, Pair, read_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.interop.cross_encoder import Score, load_cross_encoder
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file, write_json

SAMPLE = 1000
"""Negatives that a cross-encoder reads by default: the interval is then at most 6.2 points wide."""

EXAMPLES = 20

LEVEL = 0.95

RULE = "scored by the teacher at least as high as the pair's positive"

OF_TRAINING_DATA = "teacher scores of the training data"


class Negative(NamedTuple):
    """A negative of a pair, by ids."""

    query_id: str
    positive_id: str
    negative_id: str


@dataclass(frozen=True)
class Audit:
    """How many of the audited negatives are relevant, and the clearest of them.

    Attributes
    ----------
    negatives, unscored
        All of them, and those that the training data's teacher has not scored with their positive.
    low, high
        Wilson's interval for the rate (Wilson, 1927, https://doi.org/10.2307/2276774). It takes
        the audited negatives as independent draws. Those of one query are not quite, so where all
        are audited it is a little narrow.
    examples
        Those scored furthest above their positive; ties by id.
    """

    teacher: dict[str, str]
    negatives: int
    unscored: int
    audited: int
    relevant: int
    rate: float
    low: float
    high: float
    examples: list[dict[str, Any]]

    def content(self, **facts: Any) -> dict[str, Any]:
        """What is written: the numbers, what they mean, and what they were made from."""
        numbers = asdict(self)
        interval = {"method": "Wilson", "level": LEVEL}
        interval |= {name: numbers.pop(name) for name in ("low", "high")}
        examples = numbers.pop("examples")
        return {
            **facts, **numbers, "relevant_means": RULE, "interval": interval, "examples": examples,
        }  # fmt: skip

    def __str__(self) -> str:
        """The numbers as a table."""
        interval = f"{self.low:.2%} to {self.high:.2%}"
        left = ""
        if self.unscored:
            left = (
                f"\n{self.unscored:,} negatives were not audited: the teacher has not scored them"
            )
        return (
            f"teacher: {self.teacher['name']}\n"
            f"{'negatives':>11}{'audited':>11}{'relevant':>11}{'rate':>9}  95% interval (Wilson)\n"
            f"{self.negatives:>11,}{self.audited:>11,}{self.relevant:>11,}{self.rate:>9.2%}"
            f"  {interval}{left}"
        )


def audit_negatives(
    training: Path,
    negatives: Path,
    output: Path,
    teacher: Path | None = None,
    sample: int | None = None,
    seed: int = 42,
) -> Audit:
    """Audit the negatives of a training set, and write the audit to a JSON file.

    Parameters
    ----------
    training, negatives
        Outputs of the stages `training_data` and `negatives`.
    teacher
        Directory of a cross-encoder; by default the teacher's scores in the training data.
    sample
        Number of negatives to audit, drawn with the seed; by default `SAMPLE` for a cross-encoder,
        and otherwise all.

    Raises
    ------
    InputError
        Something is missing or was not made from the other, the teacher has scored nothing or
        cannot be loaded, or a score is not a finite number.
    """
    file = negatives / FILE
    if not file.is_file():
        raise InputError(f"{file}: no such file; run `dvc repro negatives`")
    by, score = {"name": OF_TRAINING_DATA}, None
    if teacher is not None:
        sample = sample or SAMPLE
        score = load_cross_encoder(teacher)
        by = {"name": f"cross-encoder {teacher}", "fingerprint": fingerprint(teacher)}
    dataset, pairs = read_dataset(training / "train"), read_negatives(negatives)
    if score is None and dataset.teacher is None:
        raise InputError(
            f"{training}: has no teacher's scores; give the directory of a cross-encoder with "
            "--teacher DIR"
        )
    result = audit(dataset, pairs, by, score, sample, seed)
    write_json(output, result.content(negatives_sha256=sha256_file(file), seed=seed))
    return result


def audit(
    dataset: RetrievalDataset,
    pairs: list[Pair],
    teacher: dict[str, str],
    score: Score | None = None,
    sample: int | None = None,
    seed: int = 42,
) -> Audit:
    """Audit negatives by a cross-encoder's scores, or by those in the training data.

    `teacher` names it in the result. Raises InputError if there is nothing to audit, a passage or
    query is unknown, or a score is not a finite number.
    """
    from scipy.stats import binomtest

    ends = np.cumsum([len(negatives) for _, _, negatives in pairs], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        raise InputError("there are no negatives to audit: negatives.num_negatives is 0")
    _check_known(dataset, pairs)
    scored = np.arange(total)
    if score is None:
        _check_finite(dataset)
        scored = np.flatnonzero(_has_scores(dataset, pairs))
        if not len(scored):
            raise InputError(
                "the teacher of the training data has scored no negative together with its "
                "positive; give the directory of a cross-encoder with --teacher DIR"
            )
    rows = scored
    if sample is not None and sample < len(scored):
        drawn = np.random.default_rng(seed).choice(len(scored), size=sample, replace=False)
        rows = scored[np.sort(drawn)]
    chosen = [_negative(pairs, ends, row) for row in rows.tolist()]
    scores = _stored(dataset, chosen) if score is None else _judged(dataset, chosen, score)
    relevant = np.flatnonzero(scores[:, 1] >= scores[:, 0])
    test = binomtest(len(relevant), len(rows))
    interval = test.proportion_ci(confidence_level=LEVEL, method="wilson")
    above = [
        (float(scores[row, 0] - scores[row, 1]), chosen[row], row) for row in relevant.tolist()
    ]
    clearest = [row for _, _, row in sorted(above)[:EXAMPLES]]
    return Audit(
        teacher=teacher,
        negatives=total,
        unscored=total - len(scored),
        audited=len(rows),
        relevant=len(relevant),
        rate=len(relevant) / len(rows),
        low=float(interval.low),
        high=float(interval.high),
        examples=_examples(dataset, [chosen[row] for row in clearest], scores[clearest]),
    )


def _negative(pairs: list[Pair], ends: npt.NDArray[np.int64], row: int) -> Negative:
    """One of the negatives of all pairs, numbered one after the other."""
    number = int(np.searchsorted(ends, row, side="right"))
    query, positive, negatives = pairs[number]
    return Negative(query, positive, negatives[row - int(ends[number])])


def _check_known(dataset: RetrievalDataset, pairs: list[Pair]) -> None:
    queries, passages = set(dataset.queries["id"]), set(dataset.corpus["id"])
    for query, positive, negatives in pairs:
        if query not in queries or not passages.issuperset([positive, *negatives]):
            raise InputError(
                f"the negatives of query {query!r} were not chosen from this training data; run "
                "`dvc repro negatives`"
            )


def _check_finite(dataset: RetrievalDataset) -> None:
    """Refuse a score that is not a number: a comparison with it is always false."""
    if dataset.teacher is None:
        return
    wrong = ~np.isfinite(dataset.teacher["score"].to_numpy())
    if wrong.any():
        query, passage, _ = dataset.teacher.iloc[int(wrong.argmax())]
        raise InputError(
            f"the teacher's score of query {query!r} and passage {passage!r} in the training data "
            "is not a finite number; correct it in teacher/train.tsv"
        )


def _has_scores(dataset: RetrievalDataset, pairs: list[Pair]) -> list[bool]:
    """Whether the training data's teacher has scored each negative, and its positive."""
    teacher = dataset.teacher_scores()
    found: list[bool] = []
    for query, positive, negatives in pairs:
        of_query = teacher.get(query, {})
        found += [positive in of_query and negative in of_query for negative in negatives]
    return found


def _stored(dataset: RetrievalDataset, chosen: list[Negative]) -> npt.NDArray[np.float64]:
    """The training data's scores of positive and negative, of shape (negatives, 2)."""
    teacher = dataset.teacher_scores()
    return np.array(
        [(teacher[q][positive], teacher[q][negative]) for q, positive, negative in chosen]
    )


def _judged(
    dataset: RetrievalDataset, chosen: list[Negative], score: Score
) -> npt.NDArray[np.float64]:
    """A cross-encoder's scores of positive and negative, of shape (negatives, 2)."""
    queries, passages = _texts(dataset, chosen)
    # Each query and passage is read once, also where a positive has several negatives.
    place: dict[tuple[str, str], int] = {}
    rows = [
        [place.setdefault((query, passage), len(place)) for passage in (positive, negative)]
        for query, positive, negative in chosen
    ]
    scores = score([(queries[query], passages[passage]) for query, passage in place])
    return scores.astype(np.float64)[np.array(rows)]


def _texts(
    dataset: RetrievalDataset, chosen: list[Negative]
) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of the queries and passages that are read, by id."""
    wanted = {passage for _, *passages in chosen for passage in passages}
    rows = np.flatnonzero(dataset.corpus["id"].isin(wanted))
    read = dataset.corpus.iloc[rows]
    texts = RetrievalDataset(read, dataset.queries, dataset.qrels, dataset.origin).passage_texts()
    queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
    return queries, dict(zip(read["id"], texts, strict=True))


def _examples(
    dataset: RetrievalDataset, chosen: list[Negative], scores: npt.NDArray[np.float64]
) -> list[dict[str, Any]]:
    queries, passages = _texts(dataset, chosen)
    return [
        {
            **negative._asdict(),
            "query": queries[negative.query_id],
            "positive": passages[negative.positive_id],
            "negative": passages[negative.negative_id],
            "positive_score": of_positive,
            "negative_score": of_negative,
        }
        for negative, (of_positive, of_negative) in zip(chosen, scores.tolist(), strict=True)
    ]
