"""What happened while negatives were chosen: counts, and how near they lie to their queries."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ettin_retrieval.settings.schema import Negatives

BINS = 40


@dataclass
class MiningReport:
    """Why candidates were passed over, and what was missing.

    Attributes
    ----------
    pairs
        Pairs of query and positive passage that negatives were chosen for.
    wanted
        Negatives that were asked for: `negatives.num_negatives` for each pair.
    candidates
        Passages looked at, over all pairs: passed over, chosen, or not needed.
    skipped
        Reason to number of candidates passed over, over all pairs.
    filled_at_random
        Negatives drawn from the whole corpus because too few candidates were left.
    shortfall
        Negatives that are missing all the same.
    pairs_without_teacher
        Pairs left out because the teacher has not scored the positive.
    positive_scores, negative_scores
        Similarity to the query of the positive of each pair and of each chosen negative, by the
        encoder that mined; empty where none did.
    """

    pairs: int = 0
    wanted: int = 0
    candidates: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    filled_at_random: int = 0
    shortfall: int = 0
    pairs_without_teacher: int = 0
    positive_scores: array[float] = field(default_factory=lambda: array("f"))
    negative_scores: array[float] = field(default_factory=lambda: array("f"))

    def histogram(self) -> list[dict[str, float]]:
        """Shares of the positives and of the chosen negatives by similarity, for a plot.

        Bins of equal width from the lowest to the highest score; empty without scores.

        >>> report = MiningReport()
        >>> report.positive_scores.extend([0.5, 1.0]); report.negative_scores.append(0.0)
        >>> [row for row in report.histogram() if row["positives"]]
        [{'similarity': 0.5125, 'positives': 0.5, 'negatives': 0.0},
         {'similarity': 0.9875, 'positives': 0.5, 'negatives': 0.0}]
        """
        edges, positives, negatives = self._binned()
        middles = (edges[:-1] + edges[1:]) / 2
        shares = [counts / max(1, counts.sum()) for counts in (positives, negatives)]
        return [
            {"similarity": round(s, 6), "positives": round(p, 6), "negatives": round(n, 6)}
            for s, p, n in zip(*(a.tolist() for a in (middles, *shares)), strict=True)
        ]

    def summary(self, negatives: Negatives) -> str:
        """One line for the log."""
        missing = f", {self.shortfall:,} missing" if self.shortfall else ""
        return (
            f"{negatives.num_negatives} {negatives.sampling} negatives for {self.pairs:,} pairs, "
            f"{self.filled_at_random:,} of them filled at random{missing}"
        )

    def content(self) -> dict[str, Any]:
        """What report.json says."""
        edges, positives, negatives = self._binned()
        return {
            "pairs": self.pairs,
            "pairs_without_teacher": self.pairs_without_teacher,
            "wanted": self.wanted,
            "candidates": self.candidates,
            "skipped": dict(sorted(self.skipped.items())),
            "filled_at_random": self.filled_at_random,
            "shortfall": self.shortfall,
            "scores": {
                "edges": [round(edge, 6) for edge in edges.tolist()],
                "positives": positives.tolist(),
                "negatives": negatives.tolist(),
            },
        }

    def _binned(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges of the bins, and counts of positives and of negatives in them."""
        positives = np.asarray(self.positive_scores, dtype=np.float64)
        negatives = np.asarray(self.negative_scores, dtype=np.float64)
        both = np.concatenate([positives, negatives])
        if both.size == 0:
            nothing = np.zeros(0)
            return nothing, nothing, nothing
        edges = np.histogram_bin_edges(both, bins=BINS)
        return edges, np.histogram(positives, edges)[0], np.histogram(negatives, edges)[0]
