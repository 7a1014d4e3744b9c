"""Which seeds are taken together, and what is said of one alone."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.reports.seeds import arm_of, contrasts, seed_caveat
from ettin_retrieval.reports.view import View
from ettin_retrieval.tasks import TINY_TASKS
from tests.ledgers import EXPECTED, write


def tuned(view: View, model: str = "1b") -> list[str]:
    """Seeds of the fine-tuned arm, in words."""
    entries = [e for e in view.entries if (e.model, e.checkpoint) == (model, "finetuned")]
    return [arm_of(view, entries).seeds, *arm_of(view, entries).left_out]


def test_a_seed_that_lacks_a_task_is_left_out_and_named(tmp_path: Path) -> None:
    for seed in (42, 43):
        write(tmp_path, "1b", "finetuned", {"NQ": 0.5, "SciFact": 0.5}, seed=seed)
    write(tmp_path, "1b", "finetuned", {"NQ": 0.5}, seed=7)
    assert tuned(View.read(tmp_path, EXPECTED)) == ["seeds 42, 43", "seed 7, other tasks"]


def test_base_weights_are_compared_once_with_all_seeds_trained_from_them(tmp_path: Path) -> None:
    for seed in (42, 43):
        write(tmp_path, "1b", "base", {"NQ": [0.25, 0.5]}, seed=seed, weights="same")
        write(tmp_path, "1b", "finetuned", {"NQ": [0.5, 0.5]}, seed=seed)
        write(tmp_path, "tiny", "base", {"NQ": [0.25, 0.5]}, seed=seed)  # drawn by the seed
        write(tmp_path, "tiny", "finetuned", {"NQ": [0.5, 0.5]}, seed=seed)
    found, left_out = contrasts(View.read(tmp_path, EXPECTED))
    assert left_out == []
    assert [(c.base.seeds, c.tuned.seeds) for c in found] == [
        ("seeds 42, 43", "seeds 42, 43"), ("seed 42", "seeds 42, 43"),
    ]  # fmt: skip


def test_the_spread_known_from_other_sizes_is_that_of_a_whole_benchmarks_average(
    tmp_path: Path,
) -> None:
    for seed, score in ((1, 0.504), (2, 0.5), (3, 0.496)):
        write(tmp_path, "150m", "finetuned", dict.fromkeys(TINY_TASKS, score), seed=seed)
    write(tmp_path, "400m", "finetuned", {"NQ": 0.5})
    write(tmp_path, "1b", "finetuned", {"NQ": 0.5})
    view = View.read(tmp_path, EXPECTED)
    by_model = {e.model: arm_of(view, [e]) for e in view.entries if e.seed in (1, 42)}
    assert seed_caveat(view, by_model["1b"]) == (
        "1b/finetuned-guide has one seed (42): seed noise is in no interval; standard deviation "
        "over seeds of other sizes: 150m 0.4 points (average of tiny)"
    )
    seeds = [e for e in view.entries if e.model == "150m"]
    assert seed_caveat(view, arm_of(view, seeds)) is None
    assert "no other size has several seeds" in str(seed_caveat(view, by_model["150m"]))
