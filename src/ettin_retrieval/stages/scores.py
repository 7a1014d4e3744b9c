"""Stage scores: the metrics of the selected checkpoint, at the one path that experiments share."""

from __future__ import annotations

import json

from ettin_retrieval.params import Settings
from ettin_retrieval.records import write_json
from ettin_retrieval.stages import Paths, run_stage


def body(settings: Settings, paths: Paths) -> str:
    """Copy base's or finetuned's metrics, as `checkpoint` says."""
    write_json(paths["mteb"], json.loads(paths[settings.checkpoint].read_text(encoding="utf-8")))
    return f"checkpoint {settings.checkpoint}"


if __name__ == "__main__":
    run_stage("scores", body, reads=["base", "finetuned"], writes=["mteb"])
