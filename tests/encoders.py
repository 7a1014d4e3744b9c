"""Entries and model directories that several tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.sections import Encoder
from tests.workspace import ROOT


def local_entry(**changes: Any) -> Encoder:
    """The entry `ettin_local` of encoders.yaml with changes."""
    local = load_settings(ROOT / "params.yaml").encoders["ettin_local"]
    return Encoder.model_validate(local.model_dump() | changes)


def without_normalize(directory: Path, similarity: str) -> Path:
    """Remove a sentence-transformers directory's `Normalize` and state a similarity."""
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps(modules[:2]))
    config = directory / "config_sentence_transformers.json"
    content = json.loads(config.read_text()) if config.is_file() else {}
    config.write_text(json.dumps(content | {"similarity_fn_name": similarity}))
    return directory
