"""params.yaml: what is accepted, and the one line that refuses the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings

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
        ("seed", 2**32, "seed: 4294967296 is not allowed; it must be at most 4294967295"),
        ("studies.few_shot.seeds", [42, 2**32], "few_shot.seeds.1: 4294967296 is not allowed"),
        ("evaluation.tasks", [], "it must be a list of at least one or auto, smoke, guide or"),
        ("evaluation.tasks", ["SciFact", "NQ", "SciFact"], "evaluation.tasks: SciFact is there"),
        ("encoders.ettin_1b.max_query_length", 2, "it must be at least 3 or auto"),
        ("encoders.ettin_tiny.shape.vocabulary", 10, "it must be at least 128"),
        ("encoders", 5, "encoders: 5 is not allowed; it must be a mapping"),
        ("evaluation", {5: "x"}, "evaluation.5: a key must be a string; write '5' in quotes"),
        ("recipe", "guid", "recipe: 'guid' is not allowed; it must be guide or paper"),
        ("encoders.ettin_1b.source", "/data/my model", "is no hub id such as jhu-clsp/ettin-"),
        ("encoders.ettin_local.source", "", "for a directory write source: local, and name it"),
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
    assert "more)" not in message


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


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "before",
    [
        "temperature: 0.05", "margin: 0.3", "learning_rate: auto", "weight_decay: auto",
        "warmup_ratio: auto", "relative_margin: 0.0", "absolute_margin: 0.0", "rate: 0.5",
        "learning_rate: 2.0e-3", "weight_decay: 0.01",
    ],
)  # fmt: skip
def test_numbers_are_finite(tmp_path: Path, before: str, value: str) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, f"{before.split(':')[0]}: {value}", 1), encoding="utf-8")
    with pytest.raises(InputError, match="it must be a finite number"):
        load_settings(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"model: tiny\nseed: \xe9\n", r"params.yaml:2: not UTF-8"),
        (b"model: tiny\nseed: \0\n", r"params.yaml:2: not valid YAML: special characters"),
        (b"model: " + b"[" * 5000, r"nested too deeply"),
        (b"- 1\n", r"must be a mapping of settings"),
        (b"", r"must be a mapping of settings"),
        (None, r"a directory; it must be a file of settings"),
    ],
)
def test_what_is_no_file_of_settings(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "params.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=told) as refused:
        load_settings(path)
    assert "\n" not in str(refused.value)
