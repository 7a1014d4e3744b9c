"""Our search against mteb's own, in the same task."""

from __future__ import annotations

from pathlib import Path

import mteb
import numpy as np
import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.checkpoint import load_checkpoint
from ettin_retrieval.evaluation.score import load_search, score_task
from ettin_retrieval.evaluation.tasks import task_for
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.tasks import METRICS
from tests.small import ROOT


def assert_scores_are_mtebs(checkpoint: Path, name: str, dataset: RetrievalDataset) -> None:
    """Compare means, per-query scores and retrieved passages."""
    settings = load_settings(ROOT / "params.yaml")
    ours = score_task(load_search(checkpoint, settings), name, dataset)
    task = task_for(name, dataset)
    theirs = mteb.evaluate(load_checkpoint(checkpoint), [task], cache=None, show_progress_bar=False)
    reference = theirs.task_results[0].scores[dataset.origin.split][0]
    for metric in METRICS:
        # mteb rounds to five digits.
        assert ours.scores[metric] == pytest.approx(reference[metric], abs=5.1e-6)
        np.testing.assert_allclose(task.per_query[metric], ours.per_query[metric], atol=1e-6)
    assert task.per_query["query_id"].tolist() == ours.per_query["query_id"].tolist()
    for query_id, hits in task.run.items():
        found = ours.run[query_id]
        both = found.keys() & hits.keys()
        # The last ones, with nearly equal scores, may differ.
        assert len(both) >= len(hits) - 2
        np.testing.assert_allclose([found[p] for p in both], [hits[p] for p in both], atol=1e-6)
