"""The environment that every stage runs under."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ettin_retrieval.runtime.determinism import DEFAULTS, THREADS
from tests.workspace import ROOT

PINNED = """
import os, sys
from ettin_retrieval.runtime.determinism import pin_arithmetic
pin_arithmetic(sys.argv[1] == "strict")
import torch
print(torch.get_num_threads(), os.environ["TOKENIZERS_PARALLELISM"], os.environ["GOMP_SPINCOUNT"])
"""


@pytest.mark.parametrize(("mode", "threads"), [("strict", THREADS), ("loose", 1)])
def test_stages_tokenise_on_all_threads_whatever_is_pinned(mode: str, threads: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PINNED, mode], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(threads), "true", "1000"]
