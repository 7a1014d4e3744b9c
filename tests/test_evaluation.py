"""The benchmark: mteb's own scores, per-query scores that average to them, no shared results."""

from __future__ import annotations

import os
import random
from pathlib import Path

import mteb
import numpy as np
import pytest
import pytrec_eval
import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.checkpoint import (
    fingerprint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.evaluation.result_files import portable_result
from ettin_retrieval.evaluation.score import TaskScores, score_task
from ettin_retrieval.evaluation.search import ExactSearch, model_meta
from ettin_retrieval.evaluation.tasks import task_for
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Encoder, Evaluation, Shape
from ettin_retrieval.sources.tiny import generator as synthetic
from ettin_retrieval.tasks import METRICS

ROOT = Path(__file__).resolve().parents[1]
SHAPE = Shape(layers=2, hidden_size=32, intermediate_size=64, heads=2, vocabulary=2048)


@pytest.fixture(scope="module")
def entry() -> Encoder:
    return load_settings(ROOT / "params.yaml").encoders["ettin_tiny"]


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    return synthetic.benchmark()["TinyNFCorpus"]


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, entry: Encoder, dataset: RetrievalDataset
) -> Path:
    scratch, directory = (tmp_path_factory.mktemp(name) for name in ("scratch", "checkpoint"))
    model = random_encoder(SHAPE, dataset.passage_texts(), entry, seed=1, scratch=scratch)
    save_checkpoint(model, directory, {"source": "embedded", "revision": "seed 1"})
    return directory


def search_with(checkpoint: Path, evaluation: Evaluation | None = None) -> ExactSearch:
    return ExactSearch(
        load_checkpoint(checkpoint),
        read_checkpoint(checkpoint),
        "ettin-retrieval/test",
        evaluation or Evaluation(),
    )


@pytest.fixture(scope="module")
def scored(checkpoint: Path, dataset: RetrievalDataset) -> TaskScores:
    return score_task(search_with(checkpoint), "TinyNFCorpus", dataset)


def assert_scores_are_mtebs(checkpoint: Path, name: str, dataset: RetrievalDataset) -> None:
    """Our search against mteb's own, under the same task."""
    ours = score_task(search_with(checkpoint), name, dataset)
    task = task_for(name, dataset)
    own = mteb.evaluate(load_checkpoint(checkpoint), [task], cache=None, show_progress_bar=False)
    reference = own.task_results[0].scores[dataset.origin.split][0]
    for metric in METRICS:
        # mteb rounds to five digits what it reports.
        assert ours.scores[metric] == pytest.approx(reference[metric], abs=5.1e-6)
        np.testing.assert_allclose(task.per_query[metric], ours.per_query[metric], atol=1e-6)
    assert task.per_query["query_id"].tolist() == ours.per_query["query_id"].tolist()
    for query_id, hits in task.run.items():
        found = ours.run[query_id]
        both = found.keys() & hits.keys()
        # Those of nearly equal scores at the end may be others.
        assert len(both) >= len(hits) - 2
        np.testing.assert_allclose([found[p] for p in both], [hits[p] for p in both], atol=1e-6)


@pytest.mark.parametrize("name", synthetic.TASKS)
def test_scores_are_those_of_mtebs_own_search(checkpoint: Path, name: str) -> None:
    whole = synthetic.benchmark()[name]
    # All of the corpus, and a sample of the queries, for the sake of time.
    sample = random.Random(1).sample(whole.queries["id"].tolist(), 30)
    assert_scores_are_mtebs(checkpoint, name, whole.with_queries(sample))


@pytest.mark.acceptance
def test_the_base_encoder_scores_as_in_mtebs_own_search(entry: Encoder, tmp_path: Path) -> None:
    """On every task with all queries, as `dvc repro` evaluates it."""
    assert entry.shape is not None
    (tmp_path / "scratch").mkdir()
    words = synthetic.lexicon()
    model = random_encoder(entry.shape, words, entry, seed=42, scratch=tmp_path / "scratch")
    save_checkpoint(model, tmp_path / "base", {"source": "embedded", "revision": "seed 42"})
    for name, dataset in synthetic.benchmark().items():
        assert_scores_are_mtebs(tmp_path / "base", name, dataset)


SCIFACT = os.environ.get("ETTIN_BENCHMARK_SCIFACT")
"""SciFact in BEIR layout; without it, the embedded collection's passages."""
PASSAGES = 400
"""Judged ones and a seeded sample: a minute or two on two cores."""


@pytest.mark.acceptance
def test_a_real_encoder_scores_as_in_mtebs_own_search(tmp_path: Path) -> None:
    from benchmarks.encoding import model_directory

    from ettin_retrieval.base_encoder.pretrained import pretrained
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.subsampling import subsampled

    local = load_settings(ROOT / "params.yaml").encoders["ettin_local"]
    model, origin = pretrained(local, str(model_directory()))
    save_checkpoint(model, tmp_path, origin)
    whole = beir.load(Path(SCIFACT), "test") if SCIFACT else synthetic.benchmark()["TinySciFact"]
    name, dataset = subsampled("SciFact", whole, PASSAGES)
    assert len(dataset.corpus) == PASSAGES
    assert_scores_are_mtebs(tmp_path, name, dataset)


def test_per_query_scores_average_to_what_mteb_reports(
    scored: TaskScores, dataset: RetrievalDataset
) -> None:
    assert scored.per_query["query_id"].tolist() == sorted(dataset.queries["id"])
    reported = scored.result.scores["test"][0]
    by_query = scored.per_query.set_index("query_id")
    for metric, values in unrounded(scored.run, dataset.judgments()).items():
        assert len(values) == len(by_query) == 100
        assert scored.scores[metric] == pytest.approx(sum(values.values()) / 100, abs=1e-6)
        for query, value in values.items():
            assert by_query[metric][query] == pytest.approx(value, abs=1e-6)
        # mteb rounds most of what it reports to five digits.
        assert scored.scores[metric] == pytest.approx(reported[metric], abs=5.1e-6)


def unrounded(
    run: dict[str, dict[str, float]], judged: dict[str, dict[str, int]]
) -> dict[str, dict[str, float]]:
    """Each metric by query: trec_eval's own numbers, and MRR@10 by the formula of MS MARCO."""
    names = {
        "ndcg_at_10": "ndcg_cut_10",
        "recall_at_100": "recall_100",
        "map_at_100": "map_cut_100",
    }
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.100", "map_cut.100"})
    scores = evaluator.evaluate(run)
    found = {metric: {q: scores[q][name] for q in scores} for metric, name in names.items()}
    found["mrr_at_10"] = {}
    for query, hits in run.items():
        first = sorted(hits, key=lambda passage: (-hits[passage], passage))[:10]
        ranks = [rank for rank, p in enumerate(first, 1) if judged[query].get(p, 0) > 0]
        found["mrr_at_10"][query] = 1 / ranks[0] if ranks else 0.0
    return found


def test_a_known_name_gets_mtebs_own_task(dataset: RetrievalDataset) -> None:
    official = task_for("SciFact", dataset)
    # mteb's class, metrics and description, and the data that is really scored.
    assert official.metadata.dataset == {"path": "synthetic", "revision": dataset.origin.revision}
    assert official.metadata.domains == ["Academic", "Medical", "Written"]
    assert task_for("contracts", dataset).metadata.main_score == "ndcg_at_10"


def test_a_result_is_the_same_bytes_and_mteb_reads_it(scored: TaskScores, tmp_path: Path) -> None:
    from ettin_retrieval.runtime.files import write_json

    write_json(tmp_path / "TinyNFCorpus.json", portable_result(scored.result))
    read = mteb.TaskResult.from_disk(tmp_path / "TinyNFCorpus.json")
    assert read.scores["test"][0]["ndcg_at_10"] == round(scored.scores["ndcg_at_10"], 5)
    assert read.date is None


def test_a_changed_weight_changes_identity_and_results_key(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = load_checkpoint(checkpoint)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    record = save_checkpoint(model, tmp_path / "other", {})
    assert record["fingerprint"] != read_checkpoint(checkpoint)["fingerprint"]
    metas = [model_meta(r, "n/m", Evaluation()) for r in (record, read_checkpoint(checkpoint))]
    assert metas[0].revision != metas[1].revision
    assert metas[0].revision == record["fingerprint"][:40]


@pytest.mark.parametrize("setting", ["pooling", "query_length", "document_length", "normalize"])
def test_every_setting_of_a_checkpoint_is_part_of_its_identity(
    checkpoint: Path, tmp_path: Path, setting: str
) -> None:
    model = load_checkpoint(checkpoint)
    if setting == "pooling":
        model[1].pooling_mode = "cls"
    elif setting == "normalize":
        del model[2]
    else:
        setattr(model[0], setting, 17)
    assert (
        save_checkpoint(model, tmp_path / "other", {})["fingerprint"]
        != read_checkpoint(checkpoint)["fingerprint"]
    )


def test_identity_is_not_the_path(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == fingerprint(checkpoint)


def test_a_tampered_checkpoint_is_not_loaded(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(checkpoint, tmp_path / "tampered")
    config = tmp_path / "tampered" / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean", "cls"))
    with pytest.raises(InputError, match="weights or configuration changed"):
        load_checkpoint(tmp_path / "tampered")


def test_queries_and_passages_are_cut_at_their_own_lengths(
    checkpoint: Path, dataset: RetrievalDataset
) -> None:
    model = load_checkpoint(checkpoint)
    model[0].query_length, model[0].document_length = 4, 6
    words = " ".join(dataset.passage_texts()[:20]).split()
    known = [w for w in dict.fromkeys(words) if len(model.tokenizer.tokenize(w)) == 1]
    long, cut = " ".join(known[:5]), " ".join(known[:2])
    query = encode(model, [long, cut], "query", batch_size=2)
    passage = encode(model, [long, cut], "passage", batch_size=2)
    np.testing.assert_allclose(query[0], query[1], atol=1e-6)  # [CLS] two words [SEP]
    assert not np.allclose(passage[0], passage[1], atol=1e-3)


def test_making_a_model_leaves_the_global_generator_alone(
    entry: Encoder, dataset: RetrievalDataset, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.initial_seed(), random.Random(5).random())
    random_encoder(SHAPE, dataset.passage_texts(), entry, seed=1, scratch=tmp_path)
    assert (torch.initial_seed(), random.random()) == expected
