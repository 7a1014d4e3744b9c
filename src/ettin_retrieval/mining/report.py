"""What happened during mining: counts, and similarities of positives and negatives."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.settings.sections import Negatives

BINS = 40
Bools = npt.NDArray[np.bool_]


@dataclass
class MiningReport:
    """Why candidates were skipped, and what is missing."""

    pairs: int = 0  # of a query and a positive, that negatives were chosen for
    pairs_without_teacher: int = 0  # left out: the teacher has not scored the positive
    wanted: int = 0  # `negatives.num_negatives` for each pair
    candidates: int = 0  # over all pairs: skipped, chosen, or not needed
    skipped: Counter[str] = field(default_factory=Counter)  # by the first reason that applies
    filled_at_random: int = 0  # negatives from the whole corpus: too few candidates were left
    # Passages drawn at random from the whole corpus and not taken, counted like `skipped`.
    skipped_at_random: Counter[str] = field(default_factory=Counter)
    shortfall: int = 0  # negatives still missing
    # Similarity to the query of each positive and negative; empty without an encoder.
    positive_scores: array[float] = field(default_factory=lambda: array("f"))
    negative_scores: array[float] = field(default_factory=lambda: array("f"))

    def exclude(
        self,
        candidates: Bools,
        reasons: dict[str, Bools],
        pairs: npt.NDArray[np.int64],
        skipped: Counter[str] | None = None,
    ) -> Bools:
        """Candidates to which no reason applies; a row of them stands for so many pairs.

        The others are counted in `skipped`, by default the report's.
        """
        skipped = self.skipped if skipped is None else skipped
        kept = candidates.copy()
        for reason, applies in reasons.items():
            if count := int((kept & applies).sum(axis=1) @ pairs):
                skipped[reason] += count
            kept &= ~applies
        return kept

    def summary(self, negatives: Negatives) -> str:
        """One line for the log."""
        missing = f", {self.shortfall:,} missing" if self.shortfall else ""
        return (
            f"{negatives.num_negatives} {negatives.sampling} negatives for {self.pairs:,} pairs, "
            f"{self.filled_at_random:,} of them filled at random{missing}"
        )

    def content(self) -> dict[str, Any]:
        """The content of report.json."""
        edges, positives, negatives = self._binned()
        counts = {name: value for name, value in vars(self).items() if not name.endswith("_scores")}
        scores = {
            "edges": [round(edge, 6) for edge in edges.tolist()],
            "positives": positives.tolist(),
            "negatives": negatives.tolist(),
        }
        for name in ("skipped", "skipped_at_random"):
            counts[name] = dict(sorted(counts[name].items()))
        return counts | {"scores": scores}

    def histogram(self) -> list[dict[str, float]]:
        """Shares of positives and of negatives by similarity, for a plot.

        Bins of equal width from the lowest to the highest score; empty without scores.

        >>> report = MiningReport()
        >>> report.positive_scores.extend([0.5, 1.0]); report.negative_scores.append(0.0)
        >>> [row for row in report.histogram() if row["positives"]]
        [{'similarity': 0.5125, 'positives': 0.5, 'negatives': 0.0},
         {'similarity': 0.9875, 'positives': 0.5, 'negatives': 0.0}]
        """
        edges, *counts = self._binned()
        middles = (edges[:-1] + edges[1:]) / 2
        columns = [middles, *(count / max(1, count.sum()) for count in counts)]
        return [
            {"similarity": round(s, 6), "positives": round(p, 6), "negatives": round(n, 6)}
            for s, p, n in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def _binned(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Edges of the bins, and how many positives and negatives each bin has."""
        positives = np.asarray(self.positive_scores, dtype=np.float64)
        negatives = np.asarray(self.negative_scores, dtype=np.float64)
        both = np.concatenate([positives, negatives])
        if both.size == 0:
            return both, both, both
        edges = np.histogram_bin_edges(both, bins=BINS)
        return edges, np.histogram(positives, edges)[0], np.histogram(negatives, edges)[0]
