"""A score as it was measured, and beside the expected one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ettin_retrieval.ledger.entry import MENTIONED, Lengths
from ettin_retrieval.reports.documents import points, signed
from ettin_retrieval.reports.likeness import Conditions, unlike
from ettin_retrieval.reports.references import Expected, Key, Verdict, judge, seed_half_width

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
