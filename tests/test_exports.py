"""Exports read back by the tools they are made for: mteb, pytrec_eval, MS MARCO's own formula."""

import json
from dataclasses import replace

import mteb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from mteb import TaskResult

from ettin_retrieval.cli import main
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.evaluation.result_files import portable_result, run_table
from ettin_retrieval.evaluation.score import score_task
from ettin_retrieval.evaluation.search import model_meta
from ettin_retrieval.interop.leaderboard import export_leaderboard, foreign_data
from ettin_retrieval.interop.trec import export_trec, run_lines, strictly_falling
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.schema import Evaluation

PASSAGES = [f"d{i}" for i in range(12)]

RUN = {
    # All scores equal: ties are broken by falling id, d9 d8 d7 ... d11 d10 d1 d0.
    "q1": dict.fromkeys(PASSAGES, 0.75),
    # A tie at the top in the wrong order of insertion, and one that float32 makes.
    "q2": {"d1": 0.9, "d2": 0.9, "d3": 0.30000001, "d4": 0.3} | {"d5": -0.25},
    # The only relevant passage is not retrieved.
    "q3": {"d6": 0.2, "d7": 0.1},
}
QREL = {"q1": {"d7": 1, "d0": 2}, "q2": {"d1": 1, "d4": 2, "d5": 0}, "q3": {"d0": 1}}


class FixedRun:
    """A search that gives the scores above."""

    def __init__(self, record):
        self.mteb_model_meta = model_meta(record, "ettin-retrieval/fixed", Evaluation())

    def index(self, corpus, **_):
        pass

    def search(self, queries, **_):
        return {
            q: {d: float(np.float32(s)) for d, s in RUN[q].items()} for q in list(queries["id"])
        }


@pytest.fixture(scope="module")
def collection():
    return RetrievalDataset(
        corpus=frame([(d, "", f"passage {d}") for d in PASSAGES], CORPUS),
        queries=frame([(q, f"query {q}") for q in RUN], QUERIES),
        qrels=frame([(q, d, s) for q, judged in QREL.items() for d, s in judged.items()], QRELS),
        origin=Origin("synthetic", "1", "MIT", "test"),
    ).validate()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "finetuned"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"weights")
    record = {
        "fingerprint": fingerprint(directory),
        "parameters": 7,
        "embedding_dimension": 4,
        "normalize": True,
        "max_passage_length": 64,
        "source": "finetuned",
        "revision": "of the base",
    }
    write_json(directory / "checkpoint.json", record)
    return directory


@pytest.fixture(scope="module")
def scored(collection, checkpoint, tmp_path_factory):
    """A scores directory and a benchmark directory, as the pipeline's stages write them."""
    root = tmp_path_factory.mktemp("data")
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    task = score_task(FixedRun(record), "TinyTies", collection)
    write_json(root / "scores" / "TinyTies.json", portable_result(task.result))
    pq.write_table(run_table(task.run), root / "scores" / "TinyTies.run.parquet")
    write_dataset(collection, root / "benchmark" / "TinyTies")
    return root, task


def test_the_reported_scores_are_those_worked_out_by_hand(scored):
    """q1: d9 d8 d7 ... finds d7 at 3, d0 at 12; q2: d2 d1 d4 d3 finds d1 at 2, d4 at 3.

    Gains are the judgments, discounts log2(rank + 1).
    """
    _, task = scored
    q1 = (1 / np.log2(4)) / (2 + 1 / np.log2(3))
    q2 = (1 / np.log2(3) + 2 / np.log2(4)) / (2 + 1 / np.log2(3))
    assert task.per_query["ndcg_at_10"].tolist() == pytest.approx([q1, q2, 0])
    assert task.per_query["mrr_at_10"].tolist() == pytest.approx([1 / 3, 1 / 2, 0])


def test_pytrec_eval_on_the_run_file_gives_the_reported_ndcg(scored, tmp_path):
    root, task = scored
    export_trec(root / "scores", tmp_path, root / "benchmark")
    with (tmp_path / "TinyTies.trec").open() as run, (tmp_path / "TinyTies.qrels").open() as qrels:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"ndcg_cut.10"})
        by_query = evaluator.evaluate(pytrec_eval.parse_run(run))
    measured = [by_query[q]["ndcg_cut_10"] for q in task.per_query["query_id"]]
    assert measured == task.per_query["ndcg_at_10"].tolist()
    # mteb rounds its means to five decimals.
    assert np.mean(measured) == pytest.approx(task.scores["ndcg_at_10"], abs=5e-6)
    assert round(np.mean(measured), 5) == task.result.scores["test"][0]["ndcg_at_10"]


def test_ms_marcos_formula_on_the_run_file_gives_the_reported_mrr(scored, tmp_path):
    """MS MARCO's evaluation reads ranks, not scores: 1/rank of the first relevant one in ten."""
    root, task = scored
    export_trec(root / "scores", tmp_path)
    reciprocal = dict.fromkeys(QREL, 0.0)
    for line in (tmp_path / "TinyTies.trec").read_text().splitlines():
        query, _, passage, rank, _, _ = line.split()
        if int(rank) <= 10 and QREL[query].get(passage, 0) > 0:
            reciprocal[query] = max(reciprocal[query], 1 / int(rank))
    assert sum(reciprocal.values()) / len(QREL) == pytest.approx(task.scores["mrr_at_10"], abs=1e-9)


def test_order_by_score_rank_and_line_are_one(scored, tmp_path):
    root, _ = scored
    [path] = export_trec(root / "scores", tmp_path)
    for query, lines in pd.read_csv(path, sep=" ", header=None, dtype={0: str}).groupby(0):
        scores = lines[4].to_numpy(np.float32)  # what trec_eval keeps
        assert (np.diff(scores) < 0).all(), query
        assert lines[3].tolist() == list(range(1, len(lines) + 1))
    first = path.read_bytes()
    export_trec(root / "scores", tmp_path)
    assert path.read_bytes() == first


def test_scores_without_ties_are_written_as_they_are():
    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(size=1000).astype(np.float32))[::-1]
    run = pd.DataFrame(
        {"query_id": "q", "corpus_id": [f"d{i}" for i in range(1000)], "rank": range(1, 1001)}
    ).assign(score=scores)
    read = [np.float32(float(line.split()[4])) for line in run_lines(run)]
    assert len(set(scores.tolist())) == 1000
    assert read == scores.tolist()


def test_ties_of_zeros_fall_too():
    falling = strictly_falling(np.zeros(3, dtype=np.float32))
    assert (np.diff(falling) < 0).all()
    assert abs(falling).max() < 1e-40


@pytest.mark.parametrize("scores", [[0.1, 0.2], [float("nan"), 0.1], [float("inf"), 0.1]])
def test_a_run_out_of_order_is_refused(scores):
    with pytest.raises(InputError):
        strictly_falling(np.array(scores, dtype=np.float32))


def test_an_id_with_white_space_is_refused(tmp_path):
    run = {"q 1": {"d1": 0.5}}
    pq.write_table(run_table(run), tmp_path / "T.run.parquet")
    with pytest.raises(InputError, match="'q 1' has white space"):
        export_trec(tmp_path, tmp_path / "out")


def test_mteb_loads_the_leaderboard_export_with_identical_scores(scored, checkpoint, tmp_path):
    root, task = scored
    target = export_leaderboard(root / "scores", checkpoint, tmp_path, "ettin-retrieval/fixed")
    revision = fingerprint(checkpoint)[:40]
    assert target == tmp_path / "results" / "ettin-retrieval__fixed" / revision
    read = TaskResult.from_disk(target / "TinyTies.json")
    assert read.scores["test"][0]["ndcg_at_10"] == task.result.scores["test"][0]["ndcg_at_10"]
    loaded = mteb.ResultCache(tmp_path).load_results(models=["ettin-retrieval/fixed"])
    [model] = loaded.model_results
    assert (model.model_name, model.model_revision) == ("ettin-retrieval/fixed", revision)
    [result] = model.task_results
    original = json.loads((root / "scores" / "TinyTies.json").read_text())
    assert json.loads(result.model_dump_json())["scores"] == original["scores"]
    assert result.scores["test"][0]["mrr_at_10"] == task.result.scores["test"][0]["mrr_at_10"]


def test_the_name_comes_from_the_identity_and_two_checkpoints_never_share_a_place(
    scored, checkpoint, tmp_path
):
    root, _ = scored
    first = export_leaderboard(root / "scores", checkpoint, tmp_path)
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    assert first.parent.name == f"ettin-retrieval__finetuned-{fingerprint(checkpoint)[:12]}"
    other = tmp_path / "elsewhere" / "finetuned"
    other.mkdir(parents=True)
    (other / "model.safetensors").write_bytes(b"other weights")
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    write_json(other / "checkpoint.json", record | {"fingerprint": fingerprint(other)})
    second = export_leaderboard(root / "scores", other, tmp_path)
    assert (second.name, second.parent.name) != (first.name, first.parent.name)
    export_leaderboard(root / "scores", checkpoint, tmp_path)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_what_cannot_be_exported_is_refused(scored, checkpoint, tmp_path):
    root, _ = scored
    with pytest.raises(InputError, match=r"no TASK\.json"):
        export_leaderboard(tmp_path, checkpoint, tmp_path / "out")
    with pytest.raises(InputError, match="ORG/MODEL"):
        export_leaderboard(root / "scores", checkpoint, tmp_path / "out", "no organisation")
    write_json(tmp_path / "SciFact.json", {"not": "a result"})
    with pytest.raises(InputError, match="not a result of mteb's"):
        export_leaderboard(tmp_path, checkpoint, tmp_path / "out")
    with pytest.raises(InputError, match=r"no \.run\.parquet"):
        export_trec(tmp_path, tmp_path / "out")


def test_data_that_mteb_does_not_pin_is_told(collection, checkpoint, tmp_path):
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    pinned = mteb.get_task("NFCorpus").metadata.dataset["revision"]
    for name, origin in (
        ("NFCorpus", Origin("mteb/nfcorpus", pinned, "MIT", "test")),
        ("SciFact", Origin("beir", "5" * 64, "MIT", "test")),
    ):
        task = score_task(FixedRun(record), name, replace(collection, origin=origin))
        write_json(tmp_path / "scores" / f"{name}.json", portable_result(task.result))
    written = export_leaderboard(tmp_path / "scores", checkpoint, tmp_path / "out")
    [told] = foreign_data(written)
    assert told.startswith(f"SciFact: scored on data of revision {'5' * 64}, mteb pins ")
    assert TaskResult.from_disk(written / "SciFact.json").dataset_revision == "5" * 64


def test_both_exports_from_the_command_line(scored, checkpoint, tmp_path, capsys):
    root, _ = scored
    paths = ["--scores", str(root / "scores"), "--out", str(tmp_path)]
    assert main(["export-leaderboard", *paths, "--checkpoint", str(checkpoint)]) == 0
    assert main(["export-trec", *paths, "--benchmark", str(root / "benchmark")]) == 0
    foreign, revision, run, qrels = capsys.readouterr().out.splitlines()
    assert foreign == "TinyTies: no task of mteb's"
    assert revision.endswith(fingerprint(checkpoint)[:40])
    assert (run, qrels) == (str(tmp_path / "TinyTies.trec"), str(tmp_path / "TinyTies.qrels"))
    assert main(["export-trec", *paths[:-1], str(root), "--scores", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: no .run.parquet")
