"""The one view of the ledger, beside the expected scores, that everything here is made from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ettin_retrieval.ledger.entry import MENTIONED, Entry, Lengths
from ettin_retrieval.ledger.store import read_ledger, read_queries, read_records
from ettin_retrieval.reports.documents import points, signed
from ettin_retrieval.reports.likeness import (
    LEXICAL,
    Conditions,
    Difference,
    conditions,
    in_common,
    unlike,
)
from ettin_retrieval.reports.references import (
    Expected,
    Key,
    References,
    Verdict,
    judge,
    read_references,
    seed_half_width,
)
from ettin_retrieval.tasks import CQADUPSTACK, METRICS, SUBSAMPLED, cqadupstack_parts, full_name

SIZES = ("tiny", "17m", "32m", "68m", "150m", "400m", "1b")
"""Models in order of size; all others follow, by name."""

TINY = "tiny"
"""The offline world: its model, and its benchmark."""

BM25 = LEXICAL
"""The lexical baseline's model name in the ledger."""

METRIC_NAMES = {"ndcg_at_10": "nDCG@10", "mrr_at_10": "MRR@10"}


EVALUATED = (
    "max_query_length", "max_passage_length", "cut_queries", "cut_passages", "mean_query_tokens",
    "mean_passage_tokens",
)  # fmt: skip
"""Keys of a record for where texts were cut, the shares of those that were, and mean lengths."""


class Shares(NamedTuple):
    """Of queries and of passages longer than the encoder reads; None where that is not known."""

    queries: float | None = None
    passages: float | None = None

    def __str__(self) -> str:
        """What is worth knowing beside a score, with a space before it.

        >>> str(Shares(0.996, 0.0)), str(Shares(0.029, 0.15)), str(Shares(0.01, None))
        (' [cut: 99.6% q]', ' [cut: 2.9% q, 15.0% p]', '')
        """
        named = zip(self, "qp", strict=True)
        parts = [f"{share:.1%} {name}" for share, name in named if share and share > MENTIONED]
        return f" [cut: {', '.join(parts)}]" if parts else ""


@dataclass(frozen=True)
class Measured:
    """A score from the ledger, or why it is missing.

    `lengths` and `conditions` are those of every seed behind it, and `cut` is the highest share
    over seeds and, for an average, over its tasks. The runs of a base checkpoint are one seed: its
    weights are the same. `tokens` are the highest mean lengths of queries and passages.
    """

    value: float | None  # mean over seeds, a fraction
    seeds: int = 0  # behind the mean
    deviation: float | None = None  # over several seeds
    reason: str = ""  # why the value is missing, such as `3 of 15 tasks`
    partial: int = 0  # further seeds that lack the task, or a task of the benchmark
    lengths: Lengths = (None, None)
    cut: Shares = field(default_factory=lambda: Shares())
    conditions: Conditions = field(default_factory=Conditions, compare=False, repr=False)
    tokens: tuple[float | None, ...] = (None, None)

    def __str__(self) -> str:
        """In points, with the deviation over several seeds.

        >>> print(Measured(0.5, seeds=2, deviation=0.011), Measured(None, reason="2 of 4 tasks"))
        50.0 ± 1.1 not run (2 of 4 tasks)
        """
        if self.value is None:
            return f"not run ({self.reason})" if self.reason else "not run"
        spread = "" if self.deviation is None else f" ± {points(self.deviation)}"
        return points(self.value) + spread + str(self.cut)

    @property
    def half_width(self) -> float | None:
        """Of the 95% interval over seeds; None for one seed, which shows nothing of their spread.

        >>> Measured(0.5, seeds=3, deviation=0.002).half_width, Measured(0.5, seeds=1).half_width
        (0.004968275424, None)
        """
        return None if self.deviation is None else seed_half_width(self.deviation, self.seeds)

    def over(self, base: Measured) -> float | None:
        """The improvement over a base checkpoint's score; None if they are not like with like."""
        return None if unlike(self.conditions, base.conditions) else self.minus(base.value)

    def improvement(self, base: Measured) -> str:
        """`over` as text, which says why it is missing.

        >>> short = Measured(0.5, conditions=Conditions(values={("lengths", ""): (64, 512)}))
        >>> long = Measured(0.6, conditions=Conditions(values={("lengths", ""): (512, 512)}))
        >>> long.improvement(short), long.improvement(Measured(0.5, 1))
        ('other lengths', '+10.0')
        """
        names = [each.name for each in unlike(self.conditions, base.conditions)]
        if names and None not in (self.value, base.value):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"other {names[0]}{more}"
        return signed(self.over(base))

    def minus(self, other: float | None) -> float | None:
        """The difference from another score; None if there is one of the two at most."""
        return None if self.value is None or other is None else self.value - other


@dataclass(frozen=True)
class Check:
    """A score of the ledger beside the expected one, if there is one."""

    key: Key
    measured: Measured
    expected: Expected | None

    @property
    def difference(self) -> float | None:
        """Measured less expected."""
        return self.measured.minus(self.expected.value if self.expected else None)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the expected score is reproduced; None if nothing is expected."""
        if self.expected is None:
            return None
        score, expected = self.measured.value, self.expected
        return judge(score, expected.value, expected.allowed, self.half_width or 0.0)

    @property
    def half_width(self) -> float | None:
        """Of the interval that is judged; None for a point.

        A point is one seed, and whatever was not trained: the same checkpoint at another seed is no
        other run.
        """
        return self.measured.half_width if self.key.checkpoint == "finetuned" else None

    def record(self) -> dict[str, Any]:
        """All of it at full precision."""
        measured, expected = self.measured, self.expected
        return self.key._asdict() | {
            "measured": measured.value,
            "seeds": measured.seeds,
            "partial_seeds": measured.partial,
            "deviation": measured.deviation,
            "reason": measured.reason or None,
            "source": expected.source if expected else None,
            "expected": expected.value if expected else None,
            "expected_seeds": expected.seeds if expected else None,
            "tolerance": expected.tolerance if expected else None,
            "read_error": expected.read_error if expected else None,
            "doubtful": expected.doubtful if expected else None,
            **_bounds("band", *((expected.value, expected.allowed) if expected else (None, None))),
            **_bounds("interval", measured.value, self.half_width),
            "difference": self.difference,
            "verdict": self.verdict,
            "max_query_length": measured.lengths[0],
            "max_passage_length": measured.lengths[1],
            "cut_queries": measured.cut.queries,
            "cut_passages": measured.cut.passages,
            "mean_query_tokens": measured.tokens[0],
            "mean_passage_tokens": measured.tokens[1],
        }


def _bounds(name: str, middle: float | None, half_width: float | None) -> dict[str, float | None]:
    """Lower and upper bound, as keys of a record; None without a middle or a width."""
    if middle is None or half_width is None:
        return {f"{name}_low": None, f"{name}_high": None}
    low, high = (round(middle + side, 12) for side in (-half_width, half_width))
    return {f"{name}_low": low, f"{name}_high": high}


@dataclass
class View:
    """The entries of a ledger, and the expected scores."""

    directory: Path
    entries: list[Entry]
    references: References

    def __post_init__(self) -> None:
        self.entries = [with_cqadupstack(entry) for entry in self.entries]
        self.records = {
            e.name: list(read_records(self.directory, e).values()) for e in self.entries
        }

    @classmethod
    def read(cls, results: Path, expected: Path) -> View:
        """Read a ledger and a directory of expected scores."""
        return cls(results, read_ledger(results), read_references(expected))

    def measured(self, key: Key) -> Measured:
        """The mean over the seeds that have a score of this key, or why none has."""
        arm = [e for e in self.entries if (e.model, e.checkpoint, e.recipe) == key[:3]]
        arm = [e for e in arm if key.seed in (None, e.seed)]
        found = [(entry, self._score(entry, key)) for entry in arm]
        scored = [(entry, score) for entry, score in found if not isinstance(score, str)]
        if not scored:
            return Measured(None, reason=next((str(why) for _, why in found if why), ""))
        tasks = [key.task] if key.split else list(self.references.benchmarks[key.task])
        each = [self.conditions(entry, tasks) for entry, _ in scored]
        if differing := [d for other in each[1:] for d in unlike(each[0], other)]:
            return Measured(None, reason=f"seeds of other {differing[0]}")
        seeds = {entry.name for entry in distinct([entry for entry, _ in scored])}
        values = [score for entry, score in scored if entry.name in seeds]
        return Measured(
            value=math.fsum(values) / len(values),
            seeds=len(values),
            deviation=statistics.stdev(values) if len(values) > 1 else None,
            partial=len(distinct(arm)) - len(values),
            lengths=scored[0][0].lengths,
            cut=cut_shares([entry for entry, _ in scored], tasks),
            conditions=in_common(each),
            tokens=mean_tokens([entry for entry, _ in scored], tasks),
        )

    def check(self, key: Key, expected: Expected | None = None) -> Check:
        """A score beside the expected one."""
        return Check(key, self.measured(key), expected)

    def queries(self, entry: Entry) -> pd.DataFrame:
        """Per-query scores of an entry."""
        return read_queries(self.directory, entry)

    def conditions(self, entry: Entry, tasks: Iterable[str]) -> Conditions:
        """Under what an entry's scores on these tasks were measured."""
        return conditions(entry, tasks, self.records.get(entry.name, []))

    def unlike(self, ours: Entry, theirs: Entry) -> list[Difference]:
        """In what two entries differ, apart from the systems, and on the tasks that both scored."""
        shared = ours.tasks.keys() & theirs.tasks.keys()
        # Its forums are there one by one.
        shared -= {CQADUPSTACK} if cqadupstack_parts(shared) else set()
        return unlike(self.conditions(ours, shared), self.conditions(theirs, shared))

    def pairs(self) -> list[tuple[Entry, Entry]]:
        """Base and fine-tuned entry of each model, recipe and seed that has both, in order.

        Both were measured alike, but for the data of single tasks.
        """
        bases = {(e.model, e.seed): e for e in self.entries if e.checkpoint == "base"}
        tuned = [e for e in self.entries if e.checkpoint == "finetuned"]
        pairs = [
            (bases[entry.model, entry.seed], entry)
            for entry in sorted(tuned, key=entry_order)
            if (entry.model, entry.seed) in bases
        ]
        return [(base, entry) for base, entry in pairs if not self.apart(base, entry)]

    def like_queries(self, ours: Entry, theirs: Entry) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Per-query scores of two entries, without the tasks whose data is not the same."""
        apart = {each.task for each in self.unlike(ours, theirs)}
        left, right = self.queries(ours), self.queries(theirs)
        return left[~left["task"].isin(apart)], right[~right["task"].isin(apart)]

    def apart(self, ours: Entry, theirs: Entry) -> list[Difference]:
        """In what two entries differ as a whole."""
        return [each for each in self.unlike(ours, theirs) if not each.task]

    def _score(self, entry: Entry, key: Key) -> float | str:
        """An entry's score, or why it has none that belongs to the key."""
        if key.split is None:
            return average(entry, self.references.benchmarks[key.task], key.metric)
        splits, score = scored_tasks(entry), entry.scores.get(f"{key.task}.{key.metric}")
        if score is not None and key.task in splits:
            split = splits[key.task]
            return score if split == key.split else f"scored on {split}, not {key.split}"
        if score is not None and key.task == CQADUPSTACK:
            return "parts of the task are missing"
        subsampled = any(task.startswith(f"{key.task}{SUBSAMPLED}") for task in splits)
        return "subsampled" if subsampled else ""


def model_order(model: str) -> tuple[int, str]:
    """Key to sort models by: size, then name.

    >>> sorted(["zeta", "1b", "tiny", "bm25", "17m"], key=model_order)
    ['tiny', '17m', '1b', 'bm25', 'zeta']
    """
    return (SIZES.index(model) if model in SIZES else len(SIZES), model)


def entry_order(entry: Entry) -> tuple[tuple[int, str], str, int]:
    """Key to sort entries by: model, checkpoint and seed."""
    return (model_order(entry.model), entry.arm, entry.seed)


def distinct(entries: list[Entry]) -> list[Entry]:
    """Entries of one arm without those of base weights that one before them has: they are one seed.

    >>> bases = [Entry("1b", "base", seed, {}, {}, {"fingerprint": "a"}) for seed in (1, 2)]
    >>> [entry.seed for entry in distinct(bases)]
    [1]
    """
    seen: dict[Any, Entry] = {}
    for entry in entries:
        weights = entry.weights.get("fingerprint") if entry.checkpoint == "base" else None
        seen.setdefault((entry.name,) if weights is None else weights, entry)
    return list(seen.values())


def average(entry: Entry, tasks: Mapping[str, str], metric: str) -> float | str:
    """Mean over exactly these tasks on their splits, or why it is missing.

    >>> scores = {"A.ndcg_at_10": 0.5, "B.ndcg_at_10": 1.0, "C.ndcg_at_10": 0.0}
    >>> entry = Entry("1b", "base", 42, scores, dict.fromkeys("ABC", {"split": "test"}))
    >>> average(entry, {"A": "test", "B": "test"}, "ndcg_at_10")
    0.75
    >>> average(entry, {"A": "test", "B": "dev"}, "ndcg_at_10")
    '1 of 2 tasks'
    """
    splits = scored_tasks(entry)
    agreeing = sorted(task for task, split in tasks.items() if splits.get(task) == split)
    scores = [entry.scores.get(f"{task}.{metric}") for task in agreeing]
    known = [score for score in scores if score is not None]
    if known and len(known) == len(tasks):
        return sum(known) / len(known)
    if len(agreeing) == len(tasks):
        return f"a task has no {metric}"
    if any(full_name(name) in tasks and name != full_name(name) for name in entry.tasks):
        return "subsampled"
    return f"{len(agreeing)} of {len(tasks)} tasks" if agreeing else ""


def cut_shares(entries: list[Entry], tasks: Iterable[str]) -> Shares:
    """The highest shares of cut queries and passages, over entries and tasks.

    >>> tasks = {"A": {"cut": {"queries": [1, 4], "passages": [0, 9]}}, "B": {}}
    >>> cut_shares([Entry("1b", "base", 42, {}, tasks)], ["A", "B"])
    Shares(queries=0.25, passages=0.0)
    """
    known = [e.tasks[t]["cut"] for e in entries for t in tasks if "cut" in e.tasks.get(t, {})]
    shares = [
        max((cut[kind][0] / cut[kind][1] for cut in known if cut[kind][1]), default=None)
        for kind in Shares._fields
    ]
    return Shares(*shares)


def mean_tokens(entries: list[Entry], tasks: Iterable[str]) -> tuple[float | None, ...]:
    """The highest mean lengths of queries and passages before cutting, over entries and tasks.

    >>> cut = {"queries": [1, 4], "passages": [0, 9]}
    >>> long = {"A": {"cut": cut | {"mean_tokens": {"queries": 8.5, "passages": 301.0}}}}
    >>> mean_tokens([Entry("1b", "base", 42, {}, long)], ["A", "B"]), mean_tokens([], ["A"])
    ((8.5, 301.0), (None, None))
    """
    cuts = [e.tasks[t].get("cut", {}) for e in entries for t in tasks if t in e.tasks]
    known = [cut["mean_tokens"] for cut in cuts if "mean_tokens" in cut]
    return tuple(max((mean[kind] for mean in known), default=None) for kind in Shares._fields)


def scored_tasks(entry: Entry) -> dict[str, str]:
    """Task to split, of every task an entry has a score of, in order of name.

    >>> scores = {"SciFact.ndcg_at_10": 0.7, "CQADupstackRetrieval.ndcg_at_10": 0.4}
    >>> scored_tasks(Entry("1b", "base", 42, scores, {"SciFact": {"split": "test"}}))
    {'SciFact': 'test'}
    """
    names = {key.rpartition(".")[0] for key in entry.scores}
    return {name: entry.tasks[name]["split"] for name in sorted(names & entry.tasks.keys())}


def with_cqadupstack(entry: Entry) -> Entry:
    """The entry with CQADupstackRetrieval as a task, if all its parts are scored on one split.

    Its scores are the means over its parts, unless the entry has them.
    """
    parts = cqadupstack_parts(entry.tasks)
    tasks = [entry.tasks[part] for part in parts]
    if len({task["split"] for task in tasks}) != 1:
        return entry
    means = {}
    for metric in METRICS:
        scores = [entry.scores.get(f"{part}.{metric}") for part in parts]
        known = [score for score in scores if score is not None]
        if len(known) == len(parts):
            means[f"{CQADUPSTACK}.{metric}"] = math.fsum(known) / len(known)
    task: dict[str, Any] = {"split": tasks[0]["split"]}
    if all("queries" in task for task in tasks):
        task["queries"] = sum(task["queries"] for task in tasks)
    if all("cut" in part for part in tasks):
        task["cut"] = {
            kind: [sum(part["cut"][kind][place] for part in tasks) for place in (0, 1)]
            for kind in Shares._fields
        }
        if all("mean_tokens" in part["cut"] for part in tasks):
            task["cut"]["mean_tokens"] = {
                kind: sum(p["cut"]["mean_tokens"][kind] * p["cut"][kind][1] for p in tasks)
                / max(task["cut"][kind][1], 1)
                for kind in Shares._fields
            }
    return replace(entry, scores=means | entry.scores, tasks=entry.tasks | {CQADUPSTACK: task})


def counted(seeds: int) -> str:
    """A number of seeds in words.

    >>> counted(1), counted(3)
    ('1 seed', '3 seeds')
    """
    return f"{seeds} seed{'' if seeds == 1 else 's'}"
