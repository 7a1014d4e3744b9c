"""Training that is killed and resumed, or shared by two ranks, ends as an undisturbed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.training.shared_training import CASES, train
from tests.training_inputs import ROOT, encoder, settings


def run(*module: str) -> str:
    """Run a module from the repository's root; its output."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_killed_at_any_moment_training_ends_in_the_same_bytes(tmp_path: Path) -> None:
    output = run("tests.integration.training.killed_training", str(tmp_path))
    results = json.loads(output.splitlines()[-1])
    undisturbed = results.pop("undisturbed")
    assert undisturbed["resumed_from"] is None
    digests = {name: result["digest"] for name, result in results.items()}
    assert digests == dict.fromkeys(results, undisturbed["digest"])
    # 100 steps, evaluated every 25, with a point of the curve every 2: checkpoints fall between.
    assert {name: result["resumed_from"] for name, result in results.items()} == {
        "between checkpoints": 75,
        "while writing a checkpoint": 50,
        "before older ones are removed": 75,
        # With a checkpoint at every third step after the last.
        "before the first evaluation": 9,
        "long after an evaluation": 78,
        "after training": 100,
        "while checkpoints are removed": None,
    }


def test_two_ranks_follow_the_curve_of_one(tmp_path: Path) -> None:
    """Every objective, in batches and mini-batches of which the last does not divide by two."""
    run(
        *("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "tests.integration.training.shared_training", str(tmp_path)),
    )
    results = json.loads((tmp_path / "shared.json").read_text())
    assert set(results) == set(CASES)
    for name, shared in results.items():
        model = encoder(tmp_path / name, settings(**CASES[name][0]))
        alone = train(model, name, tmp_path / f"{name}-alone")
        for curve, tolerance in (("loss", 1e-5), ("dev", 1e-12)):
            steps, values = zip(*alone[curve], strict=True)
            of_two, seen = zip(*shared[curve], strict=True)
            assert of_two == steps, (name, curve)
            assert seen == pytest.approx(values, rel=1e-6, abs=tolerance), (name, curve)
        assert alone["left_out"] == shared["left_out"], name
        assert (shared["left_out"] > 0) == (name in ("contrastive", "cached")), name
        assert alone["norm"] == pytest.approx(shared["norm"], abs=1e-4), name
