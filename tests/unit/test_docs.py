"""Links, commands, paths and settings that the documentation names exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from ettin_retrieval import cli
from ettin_retrieval.settings.load import RENAMED
from tests.workspace import ROOT

GENERATED = ("tables/", "studies/", "benchmarks/")

OF_THE_PAST = {"CHANGELOG.md"}
"""Documents that may name what no longer exists."""


def documents() -> list[str]:
    """Paths of the Markdown files that people write."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split() if not name.startswith(GENERATED)]


DOCUMENTS = [name for name in documents() if name not in OF_THE_PAST]


def code(text: str) -> str:
    """Code blocks and spans, one per line, with continued lines joined."""
    blocks = re.findall(r"^```.*?\n(.*?)^```|^ {4}(.*?\n)", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    return "\n".join(["".join(parts) for parts in blocks] + spans).replace("\\\n", " ")


def anchors(markdown: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def has_key(content: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def yaml(name: str) -> Any:
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", documents())
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    roots = (ROOT, ROOT / "src" / "ettin_retrieval", (ROOT / name).parent)
    for path in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|ya?ml|json|txt|png))`", text):
        # Outputs are not in git; MODEL and the like stand for any name.
        if not re.match(r"data/|models/", path) and not re.search(r"[A-Z]{2,}(?!ADME)", path):
            assert any((root / path).exists() for root in roots), f"{name}: {path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for file, key in re.findall(r"-S '?(?:([\w/]+\.yaml):)?([\w.]+)=", text):
        assert has_key(yaml(file or "params.yaml"), key), f"{name}: -S {file}:{key}"
    sections = "data|negatives|finetuning|encoding|evaluation|local"
    for key in re.findall(rf"`((?:{sections})\.\w+)(?:[:=][^`]*)?`", text):
        assert has_key(yaml("params.yaml"), key), f"{name}: {key}"
    assert [old for old in RENAMED if "." in old and old in text] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_exists(name: str) -> None:
    text = code((ROOT / name).read_text(encoding="utf-8"))
    stages = yaml("dvc.yaml")["stages"].keys() | {"evaluate@base", "evaluate@finetuned"}
    stages |= yaml("studies/dvc.yaml")["stages"].keys()
    for target in re.findall(r"dvc (?:repro|commit --force) ([a-z][\w@/.:]+)", text):
        assert target in stages, f"{name}: dvc repro {target}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"
    for module in re.findall(r"-m ((?:ettin_retrieval|tests|benchmarks)[\w.]*\w)", text):
        assert importlib.util.find_spec(module), f"{name}: python -m {module}"
    commands: Any = get_command(cli.app)
    for command, rest in re.findall(r"ettin-retrieval ([a-z][\w-]*)([^\n|#]*)", text):
        assert command in commands.commands, f"{name}: ettin-retrieval {command}"
        options = [opt for param in commands.commands[command].params for opt in param.opts]
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in options, f"{name}: ettin-retrieval {command} {option}"
