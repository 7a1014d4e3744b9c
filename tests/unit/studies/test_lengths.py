"""Scores at the evaluation's lengths and at the encoder's maximum, on long passages."""

from __future__ import annotations

import json
from math import log2
from pathlib import Path

import pandas as pd
import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.evaluation.result_files import write_scores
from ettin_retrieval.evaluation.score import score_checkpoint
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.studies.lengths import cut_tasks, run, what_was_cut
from tests.small import save_small_checkpoint, write_small_benchmark
from tests.workspace import ROOT

SETTINGS = load_settings(ROOT / "params.yaml")
TOPICS = 8


def write_long_collection(directory: Path) -> None:
    """Passages of 80 words that are the same up to the last ten, which are the query's own."""
    words = [word for word in tiny.lexicon() if word.isalpha() and len(word) > 4]
    own = [" ".join(words[20 * n : 20 * n + 10]) for n in range(TOPICS)]
    same = " ".join(words[-70:])
    dataset = RetrievalDataset(
        frame([(f"d{n}", "", f"{same} {own[n]}") for n in range(TOPICS)], CORPUS),
        frame([(f"q{n}", own[n]) for n in range(TOPICS)], QUERIES),
        frame([(f"q{n}", f"d{n}", 1) for n in range(TOPICS)], QRELS),
        Origin("long", "1", "CC0-1.0", "test"),
    ).validate()
    write_dataset(dataset, directory)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """A benchmark of long and short passages, two checkpoints, and their evaluation."""
    paths = {name: tmp_path / name for name in ("benchmark", "scores", "base", "finetuned")}
    write_small_benchmark(paths["benchmark"])
    write_long_collection(paths["benchmark"] / "arguments")
    for name in ("base", "finetuned"):
        save_small_checkpoint(paths[name], layers=1)
        (paths["scores"] / name).mkdir(parents=True)
        for scores in score_checkpoint(paths[name], paths["benchmark"], SETTINGS):
            write_scores(scores, paths["scores"] / name)
    return paths | {"output": tmp_path / "output"}


def test_what_is_cut_off_decides_a_ranking(inputs: dict[str, Path]) -> None:
    assert cut_tasks(what_was_cut(inputs["scores"] / "base")) == ["arguments"]
    assert run(SETTINGS, inputs) == "2 scores at two lengths"
    records = json.loads((inputs["output"] / "lengths.json").read_text())
    text = (inputs["output"] / "lengths.md").read_text()
    rows = pd.DataFrame(records["rows"])
    scores = rows[rows["checkpoint"].str.startswith("base")].set_index("checkpoint")["score"]
    short, long = scores["base, 32 and 64 tokens"], scores.drop("base, 32 and 64 tokens").item()
    # Cut at 64 tokens all passages are one text, so every query has the same ranking.
    ranks = [1, 2, 3, 4, 5, 6, 7, 8]
    assert short == pytest.approx(sum(1 / log2(rank + 1) for rank in ranks) / len(ranks))
    assert long > short
    assert "| arguments | base |" in text and "| 100.0% |" in text
    assert "| 0.0% and 0.0% |" in text, "nothing is cut at the maximum"


def test_a_benchmark_of_short_texts_says_so(inputs: dict[str, Path]) -> None:
    for name in ("base", "finetuned"):
        (inputs["scores"] / name / "arguments.cut.json").unlink()
    assert run(SETTINGS, inputs) == "0 scores at two lengths"
    text = (inputs["output"] / "lengths.md").read_text()
    assert "No task has more than 1% of its queries or passages cut" in text
    assert text.count("| 0.0% | 0.0% |") == 8, "and every task with its lengths"
