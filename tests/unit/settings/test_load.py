"""Settings read from params.yaml, encoders.yaml and recipes.yaml, and what `auto` resolves to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import RENAMED, load_settings
from ettin_retrieval.settings.schema import Settings
from tests.settings_files import FILES, write_settings
from tests.workspace import ROOT


def loaded(directory: Path, changes: dict[str, Any]) -> Settings:
    return load_settings(write_settings(directory, changes))


def test_the_committed_settings_are_those_of_the_offline_world() -> None:
    tiny = load_settings(ROOT / "params.yaml")
    assert (tiny.model, tiny.recipe) == ("tiny", "guide")
    assert (tiny.train_source, tiny.benchmark_source) == ("tiny", "tiny")
    assert (tiny.learning_rate, tiny.batch_size, tiny.epochs) == (2e-3, 16, 2)
    assert (tiny.data.dev_queries, tiny.finetuning.mini_batch_size) == (500, "auto")
    negatives = tiny.negatives
    assert (negatives.source, negatives.sampling, negatives.num_negatives) == ("corpus", "hard", 7)
    assert (tiny.finetuning.warmup_ratio, tiny.finetuning.weight_decay) == (0.1, 0.01)


def test_the_other_tracks_keep_their_data_in_the_recipe_of_the_paper(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"recipe": "paper"}).train_source == "tiny"
    assert loaded(tmp_path, {"recipe": "paper", "model": "local"}).train_source == "beir"


def test_a_value_wins_over_recipe_and_encoder(tmp_path: Path) -> None:
    changes = {"finetuning.learning_rate": 3e-5, "negatives.num_negatives": 3, "recipe": "paper"}
    settings = loaded(tmp_path, changes)
    assert (settings.learning_rate, settings.negatives.num_negatives) == (3e-5, 3)


def test_a_missing_key_means_auto(tmp_path: Path) -> None:
    path = write_settings(tmp_path, {"recipe": "paper"})
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if "warmup_ratio" not in line]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept), encoding="utf-8")
    assert load_settings(path).finetuning.warmup_ratio == 0.05


def test_an_entry_of_your_own_is_selected_by_its_name(tmp_path: Path) -> None:
    entry = {"track": "local", "base": "ettin", "lr": {"guide": 1e-5, "paper": 2e-5}}
    settings = loaded(tmp_path, {"encoders.yaml:ettin_2b": entry, "model": "2b"})
    assert settings.encoder.source == "jhu-clsp/ettin-encoder-2b"
    assert settings.learning_rate == 1e-5


def test_a_size_does_not_change_with_another(tmp_path: Path) -> None:
    before = loaded(tmp_path, {}).encoders
    changes = {"encoders.yaml:ettin_1b.lr.paper": 1e-4, "encoders.yaml:ettin_1b.track": "local"}
    after = loaded(tmp_path, changes).encoders
    assert {name for name in before if before[name] != after[name]} == {"ettin_1b"}


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = write_settings(tmp_path, {})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("learning_rate: auto", "learning_rate: 2e-5"), encoding="utf-8")
    assert load_settings(path).learning_rate == 2e-5


@pytest.mark.parametrize("key", RENAMED)
def test_one_line_names_the_new_key(tmp_path: Path, key: str) -> None:
    path = write_settings(tmp_path, {key: 1})
    with pytest.raises(InputError) as refused:
        load_settings(path)
    assert str(refused.value) == f"{path}: {key}: renamed; it is now {RENAMED[key]}"


def test_new_keys_exist() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for new in RENAMED.values():
        section, _, key = new.partition(".")
        assert new.startswith("the file ") or key in params[section], new


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: tiny\nseed: \xe9\n", ":2: not UTF-8; save the file as UTF-8"),
        (b"model: tiny\nseed: \0\n", ":2: not valid YAML: special characters are not allowed"),
        (b"model: tiny\nseed: [1\nstrict: true\n", ":3: not valid YAML"),
        (b"model: " + b"[" * 500, ": not valid settings: nested too deeply"),
        (b"- 1\n", ": must be a mapping of settings"),
        (b"", ": must be a mapping of settings"),
        (None, ": a directory; it must be a file of settings"),
    ],
)
def test_a_file_that_cannot_be_read_as_settings(
    tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    path = write_settings(tmp_path, {})
    broken = tmp_path / file
    broken.unlink()
    broken.mkdir() if content is None else broken.write_bytes(content)
    with pytest.raises(InputError) as refused:
        load_settings(path)
    assert str(refused.value).startswith(f"{broken}{said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(tmp_path: Path, file: str) -> None:
    path = write_settings(tmp_path, {})
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=f"{file}: no such file; run from the root"):
        load_settings(path)


def test_params_yaml_fits_on_a_screen() -> None:
    assert len((ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.parametrize(
    ("changes", "evaluation", "training"),
    [
        ({}, (32, 64), (32, 64)),
        ({"recipe": "paper"}, (32, 64), (32, 64)),
        ({"model": "1b"}, ("auto", "auto"), (64, 512)),
        ({"model": "1b", "recipe": "paper"}, ("auto", "auto"), (None, None)),
        ({"model": "local"}, ("auto", "auto"), (64, 512)),
        ({"model": "1b", "encoders.yaml:ettin.max_passage_length": 256}, ("auto", 256), (64, 256)),
        ({"model": "1b", "finetuning.max_query_length": 48}, ("auto", "auto"), (48, 512)),
        ({"model": "1b", "finetuning.max_query_length": None}, ("auto", "auto"), (None, 512)),
        # Training lowers this one, and says so.
        ({"finetuning.max_passage_length": 100}, (32, 64), (32, 100)),
    ],
)
def test_training_and_evaluation_have_lengths_of_their_own(
    tmp_path: Path,
    changes: dict[str, Any],
    evaluation: tuple[int | str, ...],
    training: tuple[int | None, ...],
) -> None:
    settings = loaded(tmp_path, changes)
    encoder, resolved = settings.encoder, settings.resolved()
    assert (encoder.max_query_length, encoder.max_passage_length) == evaluation
    assert tuple(settings.training_lengths.values()) == training
    assert [resolved["finetuning"][key] for key in settings.training_lengths] == list(training)


def test_another_model_has_its_own_training_lengths() -> None:
    tiny = load_settings(ROOT / "params.yaml")
    lengths = tiny.with_changes({"model": "17m"}).training_lengths
    assert tuple(lengths.values()) == (64, 512), "and not those of tiny"
