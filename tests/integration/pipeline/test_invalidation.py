"""What `dvc status` finds changed by a setting, or by a line of code."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.repo.graph import get_subgraph_of_nodes
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from tests.workspace import Workspace

CHECKPOINTS = ("base", "finetuned")
EVALUATIONS = {"evaluate@base", "evaluate@finetuned"}
TASKS = {"benchmark_data", "heldout"}
DATA = {*TASKS, "training_data"}
ENCODING = {"base_encoder", "negatives", "finetuning", *EVALUATIONS}


@pytest.fixture(scope="module")
def current(repository: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which nothing has changed since dvc.lock was written.

    The outputs that git does not have are placeholders: DVC compares digests alone.
    """
    path = tmp_path_factory.mktemp("current") / "repository"
    workspace = Workspace(Path(shutil.copytree(repository.path, path)))
    stages = YAML(typ="safe").load((path / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage in stages.values():
        for out in stage.get("outs", []):
            ((name, options),) = out.items()
            for checkpoint in CHECKPOINTS:
                directory = path / name.replace("${item.checkpoint}", checkpoint)
                if options.get("cache", True) and not directory.exists():
                    directory.mkdir(parents=True)
                    (directory / "placeholder").write_text(name)
    done = workspace.run("dvc", "commit", "--force", "dvc.yaml")
    assert done.returncode == 0, done.stderr
    yield workspace
    shutil.rmtree(path)


Changed = Callable[[], set[str]]


@pytest.fixture
def changed(current: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Changed]:
    """The stages of dvc.yaml that have changed; edits are undone after the test."""
    monkeypatch.chdir(current.path)
    yield status
    assert current.run("git", "checkout", "--", "src", "*.yaml").returncode == 0


def status() -> set[str]:
    """What `dvc status --json dvc.yaml` prints, without its start-up."""
    with Repo() as repo:
        return set(repo.status(["dvc.yaml"]))


def test_nothing_has_changed_at_first(changed: Changed) -> None:
    assert changed() == set()


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("finetuning.learning_rate=0.002", {"finetuning"}),
        ("finetuning.temperature=0.1", {"finetuning"}),
        ("finetuning.epochs=3", {"finetuning"}),
        ("finetuning.max_passage_length=48", {"finetuning"}),
        ("finetuning.keep=last", {"finetuning"}),
        ("finetuning.margin=0.2", {"negatives", "finetuning"}),
        # Distillation takes passages that the teacher has scored.
        ("finetuning.objective=margin_mse", {"negatives", "finetuning"}),
        ("negatives.num_negatives=5", {"negatives"}),
        ("negatives.range_max=50", {"negatives"}),
        ("evaluation.precision=bf16", EVALUATIONS),
        ("evaluation.tasks=tiny", {"benchmark_data", *EVALUATIONS}),
        ("evaluation.cache_embeddings=true", set()),
        ("encoding.batch_size=16", set()),
        ("data.max_corpus_size=1000", {"benchmark_data"}),
        ("data.msmarco_config=v2.1", {"training_data"}),
        ("data.dev_passages=1000", {"negatives"}),
        ("data.decontaminate=false", {"training_data"}),
        ("data.heldout=[TinySciFact]", {"heldout"}),
        ("data.benchmark=tiny", TASKS),
        ("data.strict_judgments=true", {"benchmark_data", "training_data"}),
        ("checkpoint=base", {"scores"}),
        ("strict=false", ENCODING),
        ("seed=43", {"training_data", "base_encoder", "negatives", "finetuning", "results"}),
        ("recipe=paper", {"training_data", "negatives", "finetuning", "results"}),
        ("model=1b", {*DATA, "base_encoder", "finetuning", "results"}),
        ("encoders.yaml:ettin_tiny.lr.guide=0.003", {"finetuning"}),
        ("encoders.yaml:ettin_tiny.base.max_passage_length=48", {"base_encoder", "finetuning"}),
        # What the run does not select: another recipe, another size.
        ("encoders.yaml:ettin_tiny.lr.paper=0.003", set()),
        ("encoders.yaml:ettin_1b.lr.guide=1e-4", set()),
        ("recipes.yaml:paper.finetuning.mini_batch_size=32", set()),
        # DVC cannot tell that `tiny` is not of this family.
        ("encoders.yaml:ettin.max_passage_length=256", {"base_encoder"}),
        ("recipes.yaml:guide.negatives.num_negatives=5", {"negatives"}),
        ("recipes.yaml:guide.finetuning.warmup_ratio=0.2", {"finetuning"}),
        ("recipes.yaml:guide.finetuning.max_query_length=16", {"finetuning"}),
        ("recipes.yaml:guide.data.dev_queries=400", {"training_data"}),
    ],
)
def test_a_setting_re_runs_the_stages_that_read_it(
    current: Workspace, changed: Changed, override: str, stages: set[str]
) -> None:
    file, _, assignment = override.rpartition(":")
    apply_overrides(current.path / (file or "params.yaml"), [assignment])
    # The stage `settings` reads the files whole.
    assert changed() == {"settings", *stages}


@pytest.mark.parametrize(
    ("modules", "stages"),
    [
        # What a user runs beside the pipeline.
        (
            ["interop/bm25.py", "interop/leaderboard.py", "planning/__init__.py",
             "studies/few_shot.py", "cli.py", "pipeline.py"],
            set(),
        ),
        (["reports/tables/guide.py"], {"tables"}),
        (["settings/schema.py", "preflight.py"], {"settings"}),
        (["sources/training_data/msmarco.py"], {"training_data"}),
        (["sources/benchmark_data/mteb.py"], TASKS),
        (["tasks.py"], {*TASKS, *EVALUATIONS, "results", "tables"}),
        (["sources/beir.py"], DATA),
        (["hub.py"], {*DATA, "base_encoder"}),
        (["mining/mine.py"], {"negatives"}),
        (["training/trainer.py"], {"finetuning"}),
        (["evaluation/search.py"], EVALUATIONS),
        (["encoders/encode.py"], ENCODING),
        (["ledger/merging.py"], {"results", "tables"}),
    ],
    ids=lambda case: case[0] if isinstance(case, list) else "",
)  # fmt: skip
def test_a_comment_re_runs_the_stages_that_depend_on_the_module(
    current: Workspace, changed: Changed, modules: list[str], stages: set[str]
) -> None:
    for module in modules:
        path = current.path / "src/ettin_retrieval" / module
        path.write_text(path.read_text(encoding="utf-8") + "# A comment.\n", encoding="utf-8")
    assert changed() == stages


@pytest.mark.parametrize("override", ["evaluation.tasks=[TinySciFact]", "data.max_corpus_size=900"])
def test_what_is_trained_does_not_depend_on_what_is_evaluated(
    current: Workspace, changed: Changed, override: str
) -> None:
    """Everything downstream of what such a setting changes, not the changed stages alone."""
    apply_overrides(current.path / "params.yaml", [override])
    stages = changed() - {"settings"}
    with Repo() as repo:
        sources = [stage for stage in repo.index.stages if stage.addressing in stages]
        found = get_subgraph_of_nodes(repo.index.graph, sources, downstream=True)
        stale = {stage.addressing for stage in found}
    assert stale == {"benchmark_data", *EVALUATIONS, "scores", "results"}
