"""DVC's own commands on the committed results; no stage that trains runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from tests.workspace import Workspace

TITLES = (
    "nDCG@10 by task", "Difference on each query", "Training loss", "Development nDCG@10",
    "Positives and negatives",
)  # fmt: skip


@pytest.fixture
def revisions(workspace: Workspace) -> Workspace:
    """Tags `base` and `finetuned`, as two experiments with another `checkpoint` leave them."""
    options = ["--base", "metrics/base.json", "--finetuned", "metrics/finetuned.json"]
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for checkpoint in ("base", "finetuned"):
        apply_overrides(workspace.path / "params.yaml", [f"checkpoint={checkpoint}"])
        done = workspace.stage("ledger.scores", *options, "--mteb", "metrics/mteb.json")
        assert done.returncode == 0, done.stderr
        for command in (["commit", "-qam", checkpoint, "--allow-empty"], ["tag", checkpoint]):
            assert workspace.run(*git, *command).returncode == 0
    return workspace


def test_metrics_diff_has_a_number_in_every_row(revisions: Workspace) -> None:
    done = revisions.run("dvc", "metrics", "diff", "base", "finetuned", "--json")
    assert done.returncode == 0, done.stderr
    changes = json.loads(done.stdout)["metrics/mteb.json"]
    base, tuned = (
        json.loads((revisions.path / f"metrics/{name}.json").read_text())
        for name in ("base", "finetuned")
    )
    keys = {key for key in base if key.endswith("ndcg_at_10")}
    assert {key for key in changes if key.endswith("ndcg_at_10")} == keys
    assert "mteb_avg_ndcg_at_10" in changes
    for key, change in changes.items():
        assert change["diff"] == pytest.approx(tuned[key] - base[key])
    # The table that a user reads, without a "-" in place of a number.
    done = revisions.run("dvc", "metrics", "diff", "base", "finetuned")
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("metrics/mteb")]
    assert len(rows) == len(changes)
    assert all(float(cell) > 0 for row in rows for cell in row[2:])


def test_metrics_and_plots_are_shown_and_compared(revisions: Workspace) -> None:
    done = revisions.run("dvc", "metrics", "show")
    assert done.returncode == 0, done.stderr
    assert "mteb_avg_ndcg_at_10" in done.stdout
    for command in (["show"], ["diff", "base", "finetuned"]):
        done = revisions.run("dvc", "plots", *command, "-o", "page")
        assert done.returncode == 0, done.stderr
        page = (revisions.path / "page/index.html").read_text(encoding="utf-8")
        for title in TITLES:
            assert title in page, command
        # From this repository's templates: grouped bars from 0 to 1, a panel for each task.
        assert '"yOffset": {"field": "checkpoint"' in page
        assert '"domain": [0, 1]' in page
        assert '"facet": {"field": "panel"' in page
        assert "<DVC_METRIC" not in page
        pictures = [path.name for path in (revisions.path / "plots/results/heatmaps").iterdir()]
        for picture in pictures:
            for revision in command[1:] or ["workspace"]:
                static = revisions.path / f"page/static/{revision}_plots_results_heatmaps_{picture}"
                assert static.is_file() and picture in page


def test_the_table_of_experiments_has_a_column_for_what_the_run_selects(
    revisions: Workspace,
) -> None:
    """One column per setting, score and dependency: those of other sizes and recipes stay out."""
    done = revisions.run("dvc", "exp", "show", "--csv")
    assert done.returncode == 0, done.stderr
    columns = next(csv.reader(done.stdout.splitlines()))
    assert len(columns) <= 160
    assert {"model", "finetuning.learning_rate", "mteb_avg_ndcg_at_10"} <= set(columns)
    assert not [name for name in columns if name.startswith(("ettin_1b", "paper."))]


def test_two_clones_give_the_same_tables_to_the_byte(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "elsewhere")
    shutil.copytree(workspace.path, other.path)
    made = []
    for clone in (workspace, other):
        for directory in ("tables", "plots/results"):
            shutil.rmtree(clone.path / directory)
        done = clone.run("dvc", "repro", "tables")
        assert done.returncode == 0, done.stderr
        assert "Running stage 'tables'" in done.stdout
        files = [p for d in ("tables", "plots/results") for p in (clone.path / d).rglob("*.*")]
        made.append({p.relative_to(clone.path).as_posix(): p.read_bytes() for p in files})
        # And the bytes that are committed, plots included.
        assert clone.run("git", "status", "--porcelain").stdout == ""
    assert len(made[0]) > 20
    assert made[0] == made[1]
