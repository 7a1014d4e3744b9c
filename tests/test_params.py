"""params.yaml: what is accepted, and the one line that refuses the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import load_settings

ROOT = Path(__file__).resolve().parents[1]


def changed(tmp_path: Path, changes: dict[str, Any]) -> Path:
    """A copy of params.yaml with dotted keys set."""
    yaml = YAML(typ="safe")
    content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
    path = tmp_path / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    return path


def test_the_committed_file_is_valid_and_auto_follows_the_encoder(tmp_path: Path) -> None:
    tiny = load_settings(ROOT / "params.yaml")
    assert (tiny.model, tiny.train_source, tiny.benchmark_source) == (
        "tiny",
        "synthetic",
        "synthetic",
    )
    paper = load_settings(changed(tmp_path, {"model": "1b"}))
    assert (paper.train_source, paper.benchmark_source) == ("msmarco", "mteb")
    assert paper.encoder.source == "jhu-clsp/ettin-encoder-1b"
    # The guide's YAML, value by value.
    assert (paper.encoder.pooling, paper.encoder.normalize) == ("mean", True)
    assert (paper.encoder.max_query_length, paper.encoder.max_passage_length) == (64, 512)
    assert (paper.learning_rate, paper.batch_size, paper.epochs) == (2e-5, 32, 3)
    finetuning = paper.finetuning
    assert (finetuning.objective, finetuning.temperature, finetuning.margin) == (
        "contrastive",
        0.05,
        0.3,
    )
    assert (finetuning.warmup_ratio, finetuning.weight_decay) == (0.1, 0.01)
    assert (paper.negatives.sampling, paper.negatives.per_query) == ("hard", 7)


@pytest.mark.parametrize("size", ["17m", "32m", "68m", "150m", "400m", "1b"])
def test_every_size_of_the_paper_is_selectable(tmp_path: Path, size: str) -> None:
    settings = load_settings(changed(tmp_path, {"model": size}))
    assert settings.encoder.source == f"jhu-clsp/ettin-encoder-{size}"
    assert settings.encoder.track == "paper"


def test_a_value_in_finetuning_wins_over_the_encoders_own(tmp_path: Path) -> None:
    settings = load_settings(changed(tmp_path, {"finetuning.learning_rate": 3e-5}))
    assert settings.learning_rate == 3e-5


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("learning_rate: auto", "learning_rate: 2e-5"), encoding="utf-8")
    assert load_settings(path).learning_rate == 2e-5


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model", "2b", "model: unknown model '2b'; allowed: "),
        ("checkpoint", "best", "checkpoint: 'best' is not allowed; it must be base or finetuned"),
        (
            "finetuning.learnin_rate",
            1e-3,
            "finetuning.learnin_rate: unknown key; did you mean learning_rate?",
        ),
        ("fintuning", {}, "fintuning: unknown key; did you mean finetuning?"),
        ("finetuning.learning_rate", "fast", "it must be a number or auto"),
        ("finetuning.temperature", 0, "finetuning.temperature: 0 is not allowed"),
        ("finetuning.batch_size", 1.5, "it must be a whole number or auto"),
        ("finetuning.objective", "mnrl", "contrastive, triplet, cosine_similarity or margin_mse"),
        ("negatives.top_k", 3, "negatives: top_k 3 is smaller than skip_first 0 + per_query 7"),
        ("encoders.ettin_1b.pooling", "avg", "it must be auto, mean, cls or max"),
        ("encoders.1b", {}, "write encoders.ettin_1b and select it with model: 1b"),
        ("encoders.ettin_tiny.shape.hidden_size", 130, "not a multiple of heads"),
        ("encoders.ettin_1b.revision", None, "revision of a hub id must be"),
        ("data.max_train_queries", -3, "it must be greater than 0"),
        ("evaluation.tasks", "SciFact", "it must be a list or auto"),
        ("seed", "42", "seed: '42' is not allowed; it must be a whole number"),
        ("strict", "yes", "strict: 'yes' is not allowed; it must be true or false"),
    ],
)
def test_one_line_names_the_key_and_what_is_allowed(
    tmp_path: Path, key: str, value: object, told: str
) -> None:
    path = changed(tmp_path, {key: value})
    with pytest.raises(InputError) as refused:
        load_settings(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"finetuning.objective": "triplet", "negatives.per_query": 0}, "needs 1 or more, not 0"),
        ({"finetuning.objective": "margin_mse", "negatives.per_query": 0}, "1 or more, not 0"),
        (
            {"finetuning.objective": "margin_mse", "model": "1b"},
            "teacher scores, and data.train msmarco carries none",
        ),
        (
            {"finetuning.objective": "margin_mse", "data.train": "triplets"},
            "teacher scores, and data.train triplets carries none",
        ),
        ({"negatives.sampling": "random", "negatives.skip_first": 1}, "skip_first must be 0"),
        (
            {"negatives.sampling": "random", "negatives.absolute_margin": 0.1},
            "absolute_margin must be 0",
        ),
        (
            {"negatives.sampling": "semi_hard", "negatives.absolute_margin": 0.3},
            "leaves no semi_hard negatives",
        ),
    ],
)
def test_impossible_combinations(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_settings(changed(tmp_path, changes))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("model: tiny\nseed: [1\nstrict: true\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"params.yaml:\d+: not valid YAML"):
        load_settings(path)
