"""mteb reads the exported results; what cannot be published is refused or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mteb
import pytest
from mteb import TaskResult

from ettin_retrieval.cli import main
from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.evaluation.score import TaskScores
from ettin_retrieval.interop.leaderboard import export_leaderboard, foreign_data
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, write_json
from tests.unit.interop.fixed_run import Scored


def test_mteb_reads_the_export_with_identical_scores(
    scored: Scored, checkpoint: Path, tmp_path: Path
) -> None:
    target = export_leaderboard(scored.scores, checkpoint, tmp_path, "ettin-retrieval/fixed")
    revision = fingerprint(checkpoint)[:40]
    assert target == tmp_path / "results" / "ettin-retrieval__fixed" / revision
    reported = scored.task.result.scores["test"][0]
    read = TaskResult.from_disk(target / "TinyTies.json")
    assert read.scores["test"][0]["ndcg_at_10"] == reported["ndcg_at_10"]
    loaded = mteb.ResultCache(tmp_path).load_results(models=["ettin-retrieval/fixed"])
    [model] = loaded.model_results
    assert (model.model_name, model.model_revision) == ("ettin-retrieval/fixed", revision)
    [result] = model.task_results
    original = read_json(scored.scores / "TinyTies.json")
    assert json.loads(result.model_dump_json())["scores"] == original["scores"]
    assert result.scores["test"][0]["mrr_at_10"] == reported["mrr_at_10"]


def test_two_checkpoints_never_share_a_directory(
    scored: Scored,
    checkpoint: Path,
    write_checkpoint: Callable[[Path, bytes], Path],
    tmp_path: Path,
) -> None:
    first = export_leaderboard(scored.scores, checkpoint, tmp_path)
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    assert first.parent.name == f"ettin-retrieval__finetuned-{fingerprint(checkpoint)[:12]}"
    other = write_checkpoint(tmp_path / "elsewhere" / "finetuned", b"other weights")
    second = export_leaderboard(scored.scores, other, tmp_path)
    assert (second.name, second.parent.name) != (first.name, first.parent.name)
    export_leaderboard(scored.scores, checkpoint, tmp_path)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_what_cannot_be_exported_is_refused(
    scored: Scored, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no TASK\.json"):
        export_leaderboard(tmp_path, checkpoint, out)
    with pytest.raises(InputError, match="ORG/MODEL"):
        export_leaderboard(scored.scores, checkpoint, out, "no organisation")
    write_json(tmp_path / "SciFact.json", {"not": "a result"})
    with pytest.raises(InputError, match="not a result of mteb"):
        export_leaderboard(tmp_path, checkpoint, out)
    write_json(tmp_path / "SciFact.json", read_json(scored.scores / "TinyTies.json"))
    with pytest.raises(InputError, match="holds the task TinyTies"):
        export_leaderboard(tmp_path, checkpoint, out)
    assert not out.exists()


def test_a_score_on_a_cut_corpus_is_not_published(checkpoint: Path, tmp_path: Path) -> None:
    result: dict[str, object] = {
        "dataset_revision": "1",
        "task_name": "SciFact-subsampled-10",
        "mteb_version": "2",
        "scores": {},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }
    write_json(tmp_path / "SciFact-subsampled-10.json", result)
    with pytest.raises(InputError, match="a part of the corpus"):
        export_leaderboard(tmp_path, checkpoint, tmp_path / "out")


def test_data_that_mteb_does_not_pin_is_named(
    collection: RetrievalDataset,
    checkpoint: Path,
    score: Callable[[str, RetrievalDataset, Path], TaskScores],
    tmp_path: Path,
) -> None:
    pinned = mteb.get_task("NFCorpus").metadata.dataset["revision"]
    for name, origin in (
        ("NFCorpus", Origin("mteb/nfcorpus", pinned, "MIT", "test")),
        ("SciFact", Origin("beir", "5" * 64, "MIT", "test")),
    ):
        score(name, replace(collection, origin=origin), tmp_path / "scores")
    written = export_leaderboard(tmp_path / "scores", checkpoint, tmp_path / "out")
    [line] = foreign_data(written)
    assert line.startswith(f"SciFact: scored on data of revision {'5' * 64}, mteb pins ")
    assert TaskResult.from_disk(written / "SciFact.json").dataset_revision == "5" * 64


def test_both_exports_from_the_command_line(
    scored: Scored, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["--scores", str(scored.scores), "--out", str(tmp_path)]
    assert main(["export-leaderboard", *paths, "--checkpoint", str(checkpoint)]) == 0
    assert main(["export-trec", *paths, "--benchmark", str(scored.benchmark)]) == 0
    foreign, revision, run, qrels = capsys.readouterr().out.splitlines()
    assert foreign == "TinyTies: not a task of mteb"
    assert revision.endswith(fingerprint(checkpoint)[:40])
    assert (run, qrels) == (str(tmp_path / "TinyTies.trec"), str(tmp_path / "TinyTies.qrels"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["export-trec", "--scores", str(empty), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {empty}: no .run.parquet")
