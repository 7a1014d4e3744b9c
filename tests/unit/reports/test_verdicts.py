"""What a verdict says beside the score: chance, seed noise and the learning rate."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from ettin_retrieval.reports.measured import Check, Measured
from ettin_retrieval.reports.references import Key, read_references
from ettin_retrieval.reports.verdicts import Rate, by_chance, pooled_deviations, rate_of
from ettin_retrieval.reports.view import View
from tests.ledgers import EXPECTED, write

REFERENCES = read_references(EXPECTED)
MSMARCO = Key("150m", "finetuned", "paper", "MSMARCO", "dev", "ndcg_at_10")
"""40.0, read off a plot: a band of 0.8 on either side."""


def check(key: Key, measured: Measured) -> Check:
    """A score beside the expected one of the committed files."""
    known = {value.key: value for value in (*REFERENCES.guide, *REFERENCES.paper)}
    return Check(key, measured, known.get(key))


def test_the_share_of_the_column_that_the_bands_cover_is_reproduced_by_chance() -> None:
    # nDCG@10 of MSMARCO: from 21.89 (BM25) to 43.4 (1b).
    width = 43.4 - 21.89
    inner, outermost = (
        check(MSMARCO, Measured(0.4, 1)),
        check(MSMARCO._replace(model="1b"), Measured(0.3, 1)),
    )
    unjudged = check(MSMARCO._replace(model="17m"), Measured(None))
    chance = by_chance([inner, outermost, unjudged, unjudged], REFERENCES)
    assert (chance.judged, chance.reproduced) == (2, 1)
    # Half the band of the highest figure lies beyond every figure.
    assert chance.expected == pytest.approx((1.6 + 0.8) / width)


def test_an_interval_has_less_room_in_the_band() -> None:
    several = Measured(0.4, 3, deviation=0.002)
    half_width = 4.302653 * 0.2 / 3**0.5
    chance = by_chance([check(MSMARCO, several)], REFERENCES)
    assert chance.expected == pytest.approx(2 * (0.8 - half_width) / (43.4 - 21.89), rel=1e-5)
    wide = Measured(0.4, 2, deviation=0.002)  # +- 1.8 points: inconclusive whatever the score
    assert by_chance([check(MSMARCO, wide)], REFERENCES).expected == 0


def test_seed_noise_is_that_of_both_figures_with_the_spread_of_the_column() -> None:
    one = check(MSMARCO._replace(model="1b"), Measured(0.434, 1))
    several = check(MSMARCO, Measured(0.4, 3, deviation=0.002))
    base = check(Key("150m", "base", None, "MSMARCO", "dev", "mrr_at_10"), Measured(0.1, 1))
    chance = by_chance([one, several, base], REFERENCES)
    assert chance.trained == 2
    assert list(chance.deviations.values()) == [pytest.approx(0.002)]
    room = 0.8 - 4.302653 * 0.2 / 3**0.5
    alone = 2 * stats.norm.sf(0.8 / (0.2 * 2**0.5))
    together = 2 * stats.norm.sf(room / (0.2 * (1 / 3 + 1) ** 0.5))
    assert chance.missed == pytest.approx(alone + together, rel=1e-4)
    # Without several seeds anywhere in the column nothing is known.
    assert by_chance([one, base], REFERENCES)[3:] == (0, 0, {})


def test_spreads_are_pooled_by_their_degrees_of_freedom_and_without_base_checkpoints() -> None:
    cells = [
        check(MSMARCO, Measured(0.4, 3, deviation=0.003)),
        check(MSMARCO._replace(model="1b"), Measured(0.43, 2, deviation=0.006)),
        check(MSMARCO._replace(model="17m"), Measured(0.3, 1)),
        check(MSMARCO._replace(checkpoint="base", recipe=None), Measured(0.1, 2, deviation=0.0)),
    ]
    [pooled] = pooled_deviations(cells).values()
    assert pooled == pytest.approx(((2 * 0.003**2 + 0.006**2) / 3) ** 0.5)


def test_a_rate_is_tuned_if_every_run_of_every_seed_says_so(tmp_path: Path) -> None:
    def rate(*records: tuple[float, bool] | None) -> Rate:
        results = tmp_path / str(len(list(tmp_path.iterdir())))
        for seed, record in enumerate(records):
            given = {"value": record[0], "tuned": record[1]} if record else None
            known = {"learning_rate": given} if given else {}
            write(
                results, "150m", "finetuned", {"MSMARCO": 0.4}, seed=seed, recipe="paper", **known
            )
        return rate_of(View.read(results, EXPECTED), MSMARCO)

    assert rate((3e-4, True), (3e-4, True)) == Rate((3e-4,), True)
    assert rate((3e-4, True), (8e-5, False)) == Rate((8e-5, 3e-4), False)
    assert rate((3e-4, True), None) == Rate((3e-4,), None)
    assert rate(None, (8e-5, False)) == Rate((8e-5,), False)
    [paper] = [value for value in REFERENCES.paper if value.key == MSMARCO]
    assert Rate((8e-5, 3e-4), False).mark(paper) == "rates 8e-05 and 0.0003, rate not tuned"


def test_a_checkpoint_without_runs_has_no_rate(tmp_path: Path) -> None:
    assert rate_of(View(tmp_path, [], REFERENCES), MSMARCO) == Rate()
    assert Rate().mark(None) == ""
