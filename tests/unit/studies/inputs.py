"""Scores and training material, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.experiment import Material
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.difference import Arm, Outcome, Scores
from ettin_retrieval.studies.settings import load_study_settings
from tests.workspace import ROOT

SETTINGS = load_settings(ROOT / "params.yaml")
STUDIES = load_study_settings(ROOT / "studies/params.yaml")

WEB_TASKS, SCIENTIFIC_TASKS = ("TinyDBPedia", "TinyMSMARCO"), ("TinyNFCorpus", "TinySciFact")


def scores(web: float, scientific: float) -> Scores:
    """The same score for each task of a domain."""
    values = dict.fromkeys(WEB_TASKS, web) | dict.fromkeys(SCIENTIFIC_TASKS, scientific)
    flat = {f"{task}.ndcg_at_10": value for task, value in values.items()}
    flat |= {f"{task}.mrr_at_10": value / 2 for task, value in values.items()}
    return {"mteb_avg_ndcg_at_10": (web + scientific) / 2} | flat


def outcome(per_query: Mapping[str, Sequence[float]], scores: Scores | None = None) -> Outcome:
    """Task to the nDCG@10 of its queries q0, q1, ..."""
    rows = [(t, f"q{i}", s) for t, values in per_query.items() for i, s in enumerate(values)]
    means = {f"{task}.ndcg_at_10": fmean(values) for task, values in per_query.items()}
    return Outcome(scores or means, pd.DataFrame(rows, columns=["task", "query_id", "ndcg_at_10"]))


def arm(*seeds: tuple[float, float]) -> Arm:
    """Scores on the web's and on the scientific tasks, the same on each query, by seed from 1."""
    return {
        seed: outcome(
            dict.fromkeys(WEB_TASKS, [web] * 3) | dict.fromkeys(SCIENTIFIC_TASKS, [other] * 3),
            scores(web, other),
        )
        for seed, (web, other) in enumerate(seeds, 1)
    }


class TwoDomainStudy:
    """A study that scores without training, and what it was asked to train."""

    settings, params = SETTINGS, STUDIES
    rate_in_words = "".upper

    def __init__(self, tasks: Sequence[str] = (*WEB_TASKS, *SCIENTIFIC_TASKS)) -> None:
        self.tasks = list(tasks)
        self.trained: list[tuple[str, Settings, Material, Path | None]] = []

    def base(self) -> Arm:
        return dict.fromkeys(self.params.seeds, arm((0.1, 0.1))[1])

    def train(
        self, name: str, settings: Settings, given: Material, start: Path | None = None
    ) -> Outcome:
        self.trained.append((name, settings, given, start))
        return arm((0.5, 0.5))[1]._replace(checkpoint=Path(f"{name}-{settings.seed}"))


def dataset(name: str, queries: int) -> RetrievalDataset:
    """Query number i is answered by passage number i."""
    return RetrievalDataset(
        corpus=frame([(f"d{i}", "", f"{name} passage {i}") for i in range(queries)], CORPUS),
        queries=frame([(f"q{i}", f"{name} query {i}") for i in range(queries)], QUERIES),
        qrels=frame([(f"q{i}", f"d{i}", 1) for i in range(queries)], QRELS),
        origin=Origin(name, "1", "CC0-1.0", "train"),
    ).validate()


def material(queries: int = 20) -> Material:
    """Training data with three negatives for each query."""
    negatives = [[f"d{(i + j) % queries}" for j in (1, 2, 3)] for i in range(queries)]
    pairs = [(f"q{i}", f"d{i}", chosen) for i, chosen in enumerate(negatives)]
    return Material(dataset("train", queries), dataset("dev", 2), pairs)
