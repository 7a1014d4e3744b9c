"""Curves to follow while training, written by DVCLive beside the trainer's checkpoints.

`WORK/live/plots/metrics/{loss,learning_rate,dev_ndcg_at_10}.tsv`. The pipeline's own curves,
plots/loss.json and plots/dev.json, are written once at the end, as every output of a stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dvclive.live import Live
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class _Curves(Live):
    """DVCLive's curves without its look at the DVC repository.

    The stage has a dvc.yaml, an experiment and a report of its own. The look takes half a second,
    and fails in a Git repository without commits.
    """

    def _init_dvc(self) -> None:
        pass


class LiveCurves(TrainerCallback):
    """Log loss, learning rate and development score by training step.

    transformers' own callback counts log lines rather than steps, and after a kill it would log
    twice the steps that are trained twice: here a resumed run first writes the curve so far anew.

    Parameters
    ----------
    directory
        Where DVCLive writes; what is in it is replaced.
    dev_metric
        Name of the development score in the trainer's log.
    """

    def __init__(self, directory: Path, dev_metric: str) -> None:
        self.directory = directory
        self.names = {
            "loss": "loss",
            "learning_rate": "learning_rate",
            dev_metric: "dev_ndcg_at_10",
        }
        self.live: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            self.live = _Curves(str(self.directory), save_dvc_exp=False, dvcyaml=None)
            for entry in state.log_history:
                self._log(entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self._log(state.log_history[-1])

    def _log(self, entry: dict[str, Any]) -> None:
        if self.live is None:
            return
        self.live.step = entry["step"]
        for key, name in self.names.items():
            if key in entry:
                self.live.log_metric(name, entry[key])
        self.live.make_summary()
