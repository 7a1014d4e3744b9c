"""A dvc.yaml and dvc.lock as short as the provenance of an entry needs."""

from __future__ import annotations

from pathlib import Path

PIPELINE = """
stages:
  results:
    deps: [metrics/base.json, models/base, metrics/finetuned.json, models/finetuned, src/a.py]
"""

LOCK = """
schema: '2.0'
stages:
  settings:
    outs: [{path: metrics/settings.json, md5: s}]
  benchmark_data:
    outs: [{path: data/benchmark, md5: b.dir}]
  training_data:
    outs: [{path: data/training, md5: t.dir}]
  base_encoder:
    outs: [{path: models/base, md5: m.dir}]
  finetuning:
    deps: [{path: data/training, md5: t.dir}, {path: models/base, md5: m.dir}]
    outs: [{path: models/finetuned, md5: f.dir}, {path: plots/loss.json, md5: l}]
  evaluate@base:
    deps: [{path: models/base, md5: m.dir}, {path: data/benchmark, md5: b.dir}]
    outs: [{path: metrics/base.json, md5: eb}]
  evaluate@finetuned:
    deps: [{path: models/finetuned, md5: f.dir}, {path: data/benchmark, md5: b.dir}]
    outs: [{path: metrics/finetuned.json, md5: ef}]
  results:
    params: {params.yaml: {model: tiny, recipe: paper, seed: 7}}
    outs: [{path: results/tiny/base-seed7.json, md5: r}]
"""

BEHIND_BASE = {"data/benchmark": "b.dir", "metrics/base.json": "eb", "models/base": "m.dir"}


def write_pipeline(root: Path) -> None:
    """Write the two files of the pipeline."""
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "dvc.lock").write_text(LOCK)
