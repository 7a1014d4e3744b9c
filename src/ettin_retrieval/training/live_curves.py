"""Curves to follow while training, written by DVCLive beside the trainer's checkpoints.

`WORK/live/plots/metrics/{loss,learning_rate,dev_ndcg_at_10}.tsv`. The stage's own curves,
plots/loss.json and plots/dev.json, are written once at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dvclive.live import Live
from transformers import TrainerCallback, TrainerState

from ettin_retrieval.training.dev_score import LOGGED_DEV_METRIC

NAMES = {"loss": "loss", "learning_rate": "learning_rate", LOGGED_DEV_METRIC: "dev_ndcg_at_10"}
"""Each curve's name in the trainer's log, and its file's."""


class _Live(Live):
    """DVCLive without its look at the DVC repository.

    The stage has a dvc.yaml already; the look takes half a second, and fails without commits.
    """

    def _init_dvc(self) -> None:
        pass


class LiveCurves(TrainerCallback):
    """Log loss, learning rate and development score by training step.

    transformers' own DVCLive callback counts log lines instead of steps, and logs steps twice that
    are trained twice after a kill. Here a resumed run rewrites the curves up to its checkpoint.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.live: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Replace the curves by what a resumed run has logged so far."""
        if state.is_world_process_zero:
            self.live = _Live(str(self.directory), save_dvc_exp=False, dvcyaml=None)
            for entry in state.log_history:
                self._log(entry)

    def on_log(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write the new log entry."""
        if self.live is not None:
            self._log(state.log_history[-1])

    def _log(self, entry: dict[str, Any]) -> None:
        self.live.step = entry["step"]
        for key, name in NAMES.items():
            if key in entry:
                self.live.log_metric(name, entry[key])
        self.live.make_summary()
