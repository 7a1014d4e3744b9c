"""Studies and sweep: tables from hand-made scores, what is drawn and trained on, the ledger."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ettin_retrieval.studies.material import Material, Scores, only

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_ledger, write_entry
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import (
    ablations,
    cross_domain,
    domains,
    few_shot,
    multi_stage,
    report,
    sweep,
)
from ettin_retrieval.studies.arms import Trainer, varied
from ettin_retrieval.studies.sweep import Choice, Run, page, pick, rates_from
from tests.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
WEB_TASKS, SCIENTIFIC_TASKS = ("TinyDBPedia", "TinyMSMARCO"), ("TinyNFCorpus", "TinySciFact")


@pytest.fixture
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


def scores(web: float, scientific: float) -> Scores:
    """The same score for each task of a domain."""
    values = dict.fromkeys(WEB_TASKS, web) | dict.fromkeys(SCIENTIFIC_TASKS, scientific)
    flat = {f"{task}.ndcg_at_10": value for task, value in values.items()}
    flat |= {f"{task}.mrr_at_10": value / 2 for task, value in values.items()}
    return {"mteb_avg_ndcg_at_10": (web + scientific) / 2} | flat


def dataset(name: str, queries: int) -> RetrievalDataset:
    """Query number i is answered by passage number i."""
    return RetrievalDataset(
        corpus=frame([(f"d{i}", "", f"{name} passage {i}") for i in range(queries)], CORPUS),
        queries=frame([(f"q{i}", f"{name} query {i}") for i in range(queries)], QUERIES),
        qrels=frame([(f"q{i}", f"d{i}", 1) for i in range(queries)], QRELS),
        origin=Origin(name, "1", "CC0-1.0", "train"),
    ).validate()


def material(queries: int = 20) -> Material:
    train = dataset("train", queries)
    pairs = [
        (f"q{i}", f"d{i}", [f"d{(i + j) % queries}" for j in (1, 2, 3)]) for i in range(queries)
    ]
    return Material(train, dataset("dev", 2), pairs)


def test_stages_side_by_side_and_what_was_forgotten() -> None:
    scored = {"base": scores(0.1, 0.1), "stage1": scores(0.8, 0.5), "stage2": scores(0.73, 0.7)}
    table = multi_stage.stages_table(scored, "caption")
    assert table.rows[0] == ("TinyDBPedia", "web", "10.0", "80.0", "73.0", "-7.0")
    assert ("Mean", "scientific", "10.0", "50.0", "70.0", "+20.0") in table.rows
    assert (
        multi_stage.forgotten(scored)
        == "stage 2 forgot 7.0 points on the web, 10% of stage 1's gain"
    )
    gained = scored | {"stage2": scores(0.9, 0.7)}
    assert "forgot nothing" in multi_stage.forgotten(gained)


def test_the_matrix_marks_in_domain_scores() -> None:
    scored = {
        "nothing": scores(0.1, 0.2),
        "web": scores(0.8, 0.5),
        "scientific": scores(0.4, 0.9),
    }
    rows = cross_domain.matrix(scored, "caption").rows
    assert rows[0] == ("TinyDBPedia", "web", "10.0", "80.0*", "40.0")
    assert rows[-1] == ("TinySciFact", "scientific", "20.0", "50.0", "90.0*")
    assert cross_domain.transfer(scored).rows == (
        ("scientific to web", "10.0", "80.0", "40.0", "40.0"),
        ("web to scientific", "20.0", "90.0", "50.0", "40.0"),
    )


def test_growth_has_mean_and_spread_over_seeds() -> None:
    scored = {
        0: {1: scores(0.1, 0.1), 2: scores(0.1, 0.1)},
        100: {1: scores(0.4, 0.6), 2: scores(0.6, 0.8)},
    }
    growth = few_shot.growth(scored)
    assert growth.rows[0][:3] == ("0", "10.0", "10.0"), "no training, no seeds"
    assert growth.rows[1][:3] == ("100", "60.0 ± 14.1", "50.0 ± 14.1")
    guide = few_shot.guide_table(scored)
    assert guide.columns == (
        "Queries", "Avg nDCG@10", "TinyMSMARCO MRR@10", "TinyNFCorpus nDCG@10",
        "TinySciFact nDCG@10",
    )  # fmt: skip
    assert guide.rows[1] == ("100", "60.0 (+50.0)", "25.0 (+20.0)", "70.0 (+60.0)", "70.0 (+60.0)")


def test_a_seed_draws_nested_queries_of_its_own() -> None:
    whole = material()
    first, second = few_shot.drawn(whole, 1), few_shot.drawn(whole, 2)
    assert first != second and sorted(first) == sorted(second)
    few = only(whole, first[:3])
    assert set(few.train.queries["id"]) == set(first[:3]) == {query for query, _, _ in few.pairs}
    assert len(few.train.corpus) == 20, "passages stay, as negatives are among them"


def test_an_arm_differs_from_the_reference_in_one_factor(settings: Settings) -> None:
    own = {"pooling": "mean", "objective": "contrastive", "sampling": "hard", "per_query": 7}
    for factor, value in own.items():
        assert ablations.is_reference(ablations.Arm(factor, value), settings, "mean")
    assert not ablations.is_reference(ablations.Arm("pooling", "cls"), settings, "mean")
    fewer = varied(settings, {"negatives.per_query": 1}, "ablations")
    cut = ablations.with_negatives(material(), fewer, settings, Path("never read"))
    assert cut.pairs[0] == ("q0", "d0", ["d1"]), "the nearest of those that were mined"
    random = varied(settings, {"negatives.sampling": "random"}, "ablations")
    drawn = ablations.with_negatives(material(), random, settings, Path("never read"))
    assert len(drawn.pairs[0][2]) == 7


def test_ablations_are_one_table_against_the_reference() -> None:
    reference, other = scores(0.5, 0.7), scores(0.4, 0.9)
    arms = [ablations.Arm("pooling", "mean"), ablations.Arm("objective", "triplet")]
    scored = {"reference": reference, "pooling-mean": reference, "objective-triplet": other}
    table = ablations.arms_table(arms, scored, scores(0.1, 0.3))
    assert table.columns == ("Factor", "Value", "Average", "Web", "Scientific", "Difference")
    assert table.rows == (
        ("Base encoder", "", "20.0", "10.0", "30.0", "-40.0"),
        ("Pooling", "mean", "60.0", "50.0", "70.0", "reference"),
        ("Objective", "triplet", "65.0", "40.0", "90.0", "+5.0"),
    )
    assert ablations.objectives_told(arms, scored, scores(0.1, 0.3)) == []
    (told,) = ablations.objectives_told(arms, scored, scores(0.4, 0.88))
    assert told.startswith("triplet: less than 2.0 points above the base encoder")


def test_an_objective_brings_the_rate_that_a_sweep_picked(settings: Settings) -> None:
    for objective in ("triplet", "cosine_similarity", "margin_mse"):
        record = json.loads((ROOT / f"studies/sweeps/tiny-guide-{objective}.json").read_text())
        assert record["settings"]["finetuning"]["objective"] == objective
        assert not record["chosen"]["at_edge"]
        changed = ablations.changes(ablations.Arm("objective", objective), settings)
        assert changed == {
            "finetuning.objective": objective,
            "finetuning.learning_rate": pytest.approx(record["chosen"]["learning_rate"]),
        }
    assert ablations.changes(ablations.Arm("per_query", 1), settings) == {"negatives.per_query": 1}


def test_a_grid_that_cannot_be_is_one_line(settings: Settings) -> None:
    none = varied(settings, {"negatives.per_query": 0}, "ablations")
    with pytest.raises(InputError, match=r"studies\.ablations: finetuning\.objective=triplet"):
        varied(none, {"finetuning.objective": "triplet"}, "ablations")


def test_collections_together_keep_their_judgments() -> None:
    both = domains.together([dataset("one", 2), dataset("two", 3)])
    assert both.judgments() == {
        "0-q0": {"0-d0": 1}, "0-q1": {"0-d1": 1},
        "1-q0": {"1-d0": 1}, "1-q1": {"1-d1": 1}, "1-q2": {"1-d2": 1},
    }  # fmt: skip


def test_a_track_without_two_domains_is_refused(settings: Settings) -> None:
    local = settings.with_changes({"model": "local"})
    with pytest.raises(InputError, match="has no second domain"):
        domains.scientific(local)


SCIENTIFIC = """
import json
import sys
from pathlib import Path
from ettin_retrieval.negatives import read_negatives
from ettin_retrieval.params import load_settings
from ettin_retrieval.stages import base_encoder
from ettin_retrieval.studies import domains
settings = load_settings("params.yaml")
train = domains.scientific(settings)["train"]
paths = {n: Path(n) for n in ("local", "encoder", "benchmark", "training", "negatives")}
if settings.recipe == "guide":
    base_encoder.body(settings, paths)
domains.body(settings, paths)
pairs = read_negatives(Path("negatives"))
print(json.dumps([train.manifest(), train.queries["id"].tolist(), pairs]))
"""


@pytest.mark.parametrize(("recipe", "negatives"), [("guide", 7), ("paper", 1)])
def test_the_paper_tracks_scientific_domain_is_the_train_judgments(
    workspace: Workspace, tmp_path: Path, recipe: str, negatives: int
) -> None:
    workspace.set_params(lambda text: text.replace("model: tiny", "model: 17m"))
    workspace.set_params(lambda text: text.replace("recipe: guide", f"recipe: {recipe}  "))
    with LoopbackHub() as hub:
        populate(hub, tasks=())
        for seed, task in enumerate(domains.TRAIN_TASKS):
            corpus, queries, judged = synthetic_retrieval(6, 10, seed)
            ids = list(judged)
            train, test = ({i: judged[i] for i in part} for part in (ids[:4], ids[4:]))
            hub.add_mteb_task(task, corpus, queries, {"train": train, "test": test})
        env = hub.env(tmp_path / "cache")
        done = workspace.run(sys.executable, "-c", SCIENTIFIC, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest, ids, pairs = json.loads(done.stdout.splitlines()[-1])
    # Judgments are positive alone; a query of the eight may be held out for development.
    assert pairs and all(len(set(chosen) - {p}) == negatives for _, p, chosen in pairs)
    assert manifest["source"] == "mteb/scifact + mteb/nfcorpus"
    assert manifest["counts"]["corpus"] == 32
    assert ids == [f"{n}-q{i}" for n in (0, 1) for i in range(4)], "no test query is among them"


def test_the_ledger_drops_what_the_study_no_longer_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queries = pd.DataFrame(
        {"task": ["T"], "query_id": ["q"], "ndcg_at_10": [0.5], "mrr_at_10": [0.5]}
    )
    entries = [Entry("tiny", n, 42, {"T.ndcg_at_10": 0.5}, {}) for n in ("old", "new")]
    entries.append(Entry("1b", "old", 42, {"T.ndcg_at_10": 0.5}, {}))
    for entry in entries:
        write_entry(tmp_path, entry, queries)
    trainer = Trainer("few_shot", tmp_path / "benchmark", tmp_path)
    assert (tmp_path / "models/studies.work/few_shot").is_dir()
    trainer._written.append(entries[1])
    trainer.close()
    assert [entry.name for entry in read_ledger(tmp_path)] == ["1b/old-seed42", "tiny/new-seed42"]
    index = json.loads((tmp_path / "ledger.json").read_text())
    assert len(index) == 4


WHOLE_STUDY = """
import sys
from pathlib import Path
from ettin_retrieval.determinism import pin_arithmetic
from ettin_retrieval.params import load_settings
from ettin_retrieval.records import write_dataset
from ettin_retrieval.sources import synthetic
settings = load_settings("params.yaml")
pin_arithmetic(settings.strict)
from ettin_retrieval.stages import base_encoder, evaluation, negatives, training_data
from ettin_retrieval.studies import few_shot, training
task = synthetic.benchmark()["TinySciFact"]
small = task.with_queries(task.queries["id"].tolist()[:20])
write_dataset(small, Path("b/TinySciFact"))
base_encoder.body(settings, {"local": Path("x"), "encoder": Path("e")})
training_data.body(settings, {"local": Path("x"), "benchmark": Path("b"), "training": Path("t")})
reads = {"training": Path("t"), "encoder": Path("e")}
negatives.body(settings, reads | {"negatives": Path("n"), "plot": Path("n.json")})
reads |= {"checkpoint": Path("e"), "benchmark": Path("b")}
evaluation.body(settings, reads | {"scores": Path("s"), "metrics": Path("base.json")})
reads |= {"negatives": Path("n"), "base-scores": Path("base.json")}
train = training._trained
trained = []
def watched(start, material, settings, pooling, directory):
    if len(trained) == breaks_at:
        raise KeyboardInterrupt
    trained.append(settings.seed)
    return train(start, material, settings, pooling, directory)
training._trained = watched
for n, breaks_at in (("1", 9), ("2", 3), ("2", 9)):
    writes = {"output": Path("o" + n), "results": Path("r" + n)}
    try:
        print(few_shot.body(settings, reads | writes))
    except KeyboardInterrupt:
        assert Path("models/studies.work/few_shot").is_dir()
# Undisturbed, then broken off at the second arm: the first is not trained again.
assert trained == [1, 2, 1, 2], trained
assert not Path("models/studies.work").exists()
"""


def test_a_study_gives_the_same_bytes_twice_and_goes_on_where_it_was_broken_off(
    workspace: Workspace,
) -> None:
    changes = (
        ("max_train_queries: null", "max_train_queries: 12"),
        ("examples: [0, 10, 100, 1000]", "examples: [0, 8]"),
        ("seeds: [42, 43, 44]", "seeds: [1, 2]"),
        ("sampling: auto", "sampling: random"),
        ("per_query: auto", "per_query: 1"),
        ("dev_passages: 500", "dev_passages: 20"),
        ("dev_queries: auto", "dev_queries: 2"),
        ("hidden_size: 128", "hidden_size: 32"),
    )
    for before, after in changes:
        workspace.set_params(lambda text, b=before, a=after: text.replace(b, a))
    done = workspace.run(sys.executable, "-c", WHOLE_STUDY)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = workspace.path / "o1", workspace.path / "o2"
    names = {f"few_shot.{suffix}" for suffix in ("md", "tex", "csv", "json", "png")}
    assert {path.name for path in first.iterdir()} == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    ledger = read_ledger(workspace.path / "r1")
    assert [entry.name for entry in ledger] == ["tiny/shots8-seed1", "tiny/shots8-seed2"]
    assert ledger[0].provenance["settings"]["seed"] == 1
    assert ledger[0].provenance["training_data"]["counts"]["queries"] == 8
    assert (workspace.path / "results/ledger.json").read_bytes() == (
        ROOT / "results/ledger.json"
    ).read_bytes(), "the pipeline's ledger knows nothing of studies"


def test_every_study_reads_the_same_params_and_writes_for_git() -> None:
    from ruamel.yaml import YAML

    text = (ROOT / "studies" / "dvc.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = YAML(typ="safe").load(text)
    assert content["vars"] == ["../params.yaml"]
    studies = {name: stage for name, stage in content["stages"].items() if name != "domains"}
    assert set(studies) == {"ablations", "cross_domain", "few_shot", "multi_stage"}
    for stage in content["stages"].values():
        for dep in stage["deps"]:
            assert not str(dep).startswith("src/") or (ROOT / dep).exists(), dep
    for stage in studies.values():
        assert all(out[path]["cache"] is False for out in stage["outs"] for path in out)


def test_the_grid_can_be_queued_as_experiments(workspace: Workspace) -> None:
    done = workspace.run(
        "dvc", "exp", "run", "--queue", "-S", "finetuning.objective=triplet,cosine_similarity",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finetuning.objective") == 2, done.stdout
    for objective in ("triplet", "cosine_similarity"):
        assert f"finetuning.objective={objective}" in done.stdout


def test_the_best_rate_wins_and_an_edge_is_told() -> None:
    runs = [Run(1e-3, 0.6, 4, []), Run(2e-3, 0.8, 8, []), Run(4e-3, 0.8, 8, [])]
    assert pick(runs) == Choice(2e-3, 0.8, at_edge=False), "of equal ones the lowest"
    assert pick(runs[:2]).at_edge
    broken = Run(8e-3, None, None, [], "the loss was not finite by step 3")
    assert not pick([*runs[:2], broken]).at_edge, "what breaks down is a bound too"
    with pytest.raises(InputError, match="broke down at every rate"):
        pick([broken])


def test_the_record_of_a_sweep_names_bounds_and_every_run() -> None:
    facts: dict[str, Any] = {
        "model": "tiny", "recipe": "guide", "development_queries": 100,
        "training_data": {"counts": {"queries": 1600}},
        "settings": {"finetuning": {"objective": "contrastive"}},
    }  # fmt: skip
    runs = [Run(1e-3, 0.6, 4, []), Run(2e-3, None, None, [], "not finite")]
    text = page(facts, runs, pick(runs))
    assert "| 0.001 | 60.0 | 4 | chosen |" in text
    assert "| 0.002 | broke down | -- |  |" in text
    assert "Bounds: 0.001 to 0.002." in text
    assert "at the edge of the bounds" in text
    assert "was broken off" in page(facts, runs[:1], None)


@pytest.mark.parametrize("text", ["1e-3", "1e-3,1e-3", "0,1e-3", "a,b", "1e-3,inf"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--rates"):
        rates_from(text)


def test_a_sweep_refuses_the_encoder_of_another_model(workspace: Workspace) -> None:
    workspace.set_params(lambda text: text.replace("model: tiny", "model: 17m"))
    base = workspace.path / "models" / "base"
    base.mkdir(parents=True)
    from ettin_retrieval.encoders.checkpoint import fingerprint

    record = {"fingerprint": fingerprint(base), "source": "embedded"}
    (base / "checkpoint.json").write_text(json.dumps(record))
    done = workspace.run(
        sys.executable, "-m", "ettin_retrieval.cli", "sweep", "--rates", "1e-3,2e-3"
    )
    assert done.returncode == 1
    assert "models/base is of embedded, and params.yaml selects model 17m" in done.stderr
    assert not (workspace.path / "studies/sweeps/17m-guide.json").exists()


def test_domain_means_are_over_the_domains_tasks() -> None:
    assert report.domain_mean(scores(0.2, 0.6), "web") == pytest.approx(0.2)
    assert report.domain_mean(scores(0.2, 0.6), "average") == pytest.approx(0.4)


def test_a_sweep_keeps_runs_that_differ_in_the_rate_alone(tmp_path: Path) -> None:
    facts = {"model": "tiny", "recipe": "guide", "development_queries": 2}
    facts |= {"training_data": {"counts": {"queries": 3}}}
    facts |= {"settings": {"finetuning": {"objective": "triplet"}}}
    runs = [Run(1e-3, 0.6, 4, [(0, 0.1), (4, 0.6)])]
    sweep._write(tmp_path, facts, runs, None)
    assert [run.dev_ndcg_at_10 for run in sweep._earlier(tmp_path, facts)] == [0.6]
    assert sweep._earlier(tmp_path, facts | {"development_queries": 4}) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "tiny-guide-triplet.json", "tiny-guide-triplet.md",
    }, "the contrastive objective's record is another"  # fmt: skip


def test_only_a_loss_that_is_no_number_is_a_finding_about_the_rate(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ettin_retrieval.base_encoder import pretrained as encoders
    from ettin_retrieval.training import finetune as finetuning

    def failing(error: Exception) -> None:
        def finetune(*_: object) -> None:
            raise error

        monkeypatch.setattr(finetuning, "finetune", finetune)

    monkeypatch.setattr(encoders, "load_checkpoint", lambda _: None)
    failing(LossNotFiniteError("finetuning: the loss is nan at step 3"))
    run = sweep._train(1e-3, settings, material(), Path("never read"))
    assert run.dev_ndcg_at_10 is None and "nan at step 3" in str(run.failure)
    failing(InputError("finetuning: out of memory with 16 rows at a time"))
    with pytest.raises(InputError, match="out of memory"):
        sweep._train(1e-3, settings, material(), Path("never read"))
