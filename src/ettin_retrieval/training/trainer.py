"""sentence-transformers' trainer and evaluator, with this project's batches and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from dvclive.live import Live
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.encoders.tokenise import Role
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.training import checkpoints
from ettin_retrieval.training.batches import SharedBatches, TrainingFeatures
from ettin_retrieval.training.memory import is_out_of_memory

SAVE_EVERY = 15 * 60
"""Maximum interval between checkpoints, in seconds: development evaluations may be hours apart."""

DEV_METRIC = "dev_similarity_ndcg@10"
"""nDCG@10, a fraction, whatever the encoder's similarity is; logged with the prefix `eval_`."""

CURVES = {"loss": "loss", "learning_rate": "learning_rate", f"eval_{DEV_METRIC}": "dev_ndcg_at_10"}
"""Name in the trainer's log to that of a live curve."""


class RetrievalTrainer(SentenceTransformerTrainer):
    """Trains on given batches; a resumed run ends with the weights of an uninterrupted one.

    Parameters
    ----------
    parts
        What the parent takes: `model`, `args`, `evaluator`, `callbacks`, and `loss` with two
        losses: `divided` for a batch that the ranks share, `whole` for one that every rank has.
    """

    def __init__(self, features: TrainingFeatures, batches: SharedBatches, **parts: Any) -> None:
        self.features: Any = features
        self.batches: Any = batches
        self.work = Path(parts["args"].output_dir)
        self.has_learnt = False  # whether a loss was other than 0
        live = _LiveCurves(self.work / "live")
        parts["callbacks"] += [live, _Checkpointing(self), _Learning(self)]
        super().__init__(**parts)

    def train_or_resume(self) -> TrainerState:
        """Train from the last complete checkpoint or the start; the model gets the weights to keep.

        They are the best by the metric in the arguments, or the last ones without a metric.
        """
        if self.is_world_process_zero():
            checkpoints.discard_incomplete(self.work)
        self.accelerator.wait_for_everyone()
        checkpoint = checkpoints.last_complete(self.work)
        try:
            if checkpoint is not None and checkpoints.read_progress(checkpoint).finished:
                self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
                self._load_checkpoint(self.state.best_global_step or self.state.global_step)
            else:
                self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            # accelerate wraps the forward pass for mixed precision and does not unwrap it.
            for name in ("forward", "_original_forward"):
                self.model.__dict__.pop(name, None)
        # The first rank goes on to remove the checkpoints, which others may still be reading.
        self.accelerator.wait_for_everyone()
        return self.state

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches as they are: accelerate would divide them among the ranks again."""
        return DataLoader(
            self.features,
            batch_sampler=self.batches,
            collate_fn=lambda batch: batch,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of an optimizer step, each with the weight of its loss."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        shares = [batch.pop("share") for batch in batches]
        weights = self.batches.weights(shares)
        for batch, share, weight in zip(batches, shares, weights, strict=True):
            # The parent picks the loss by `dataset_name`.
            batch |= {"dataset_name": "divided" if share.divided else "whole", "weight": weight}
        return batches, items

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The batch's weighted loss; an error if it is not finite, and would spoil the weights."""
        ids, weight = inputs.pop("query_ids"), inputs.pop("weight")
        loss: Any = super().compute_loss(model, inputs, *args, **kwargs)
        if not math.isfinite(loss.item()):
            raise LossNotFiniteError(
                f"finetuning: the loss is {loss.item()} at step {self.state.global_step + 1}, "
                f"batch of queries {', '.join(ids)}; lower finetuning.learning_rate, or use "
                "finetuning.precision fp32"
            )
        self.has_learnt |= loss.item() != 0
        return loss * weight

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Checkpoints of this project have no model card."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.model.save(str(output_dir), create_model_card=False, safe_serialization=True)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        pending = self.accelerator.reduce(self._tr_loss.clone(), reduction="mean").item()
        # Every rank writes its random state into the checkpoint.
        self.accelerator.wait_for_everyone()
        if not self.is_world_process_zero():
            return
        step, logged = self.state.global_step, self._globalstep_last_logged
        progress = checkpoints.Progress(pending, logged, self.control.should_training_stop)
        checkpoints.mark_complete(self.work / f"checkpoint-{step}", progress)
        checkpoints.keep_only(self.work, {step, self.state.best_global_step or step})

    def _load_best_model(self) -> None:
        # The best weights are often the last ones, which the model has.
        if self.state.best_global_step != self.state.global_step:
            self._load_checkpoint(self.state.best_global_step)

    def _load_checkpoint(self, step: int | None) -> None:
        # If it cannot be read, the parent would only log that, and keep other weights.
        self._load_from_checkpoint(str(self.work / f"checkpoint-{step}"))


class DevEvaluator(InformationRetrievalEvaluator):
    """nDCG@10 and MRR@10 over development queries and their corpus.

    Whatever the model's state in training, its weights get the score that they have once they are
    saved and loaded: encoded by `TextEncoder` in fp32, with the attention given here.

    Parameters
    ----------
    batch_size
        That of `TextEncoder`.
    similarity
        The encoder's own, `cosine` or `dot`.
    attention
        The implementation that a loaded checkpoint has; None for the one that the model has.
    """

    def __init__(
        self,
        dev: RetrievalDataset,
        batch_size: int,
        similarity: str = "cosine",
        attention: str | None = None,
    ) -> None:
        self.attention = attention
        super().__init__(
            queries=dict(zip(dev.queries["id"], dev.queries["text"], strict=True)),
            corpus=dict(zip(dev.corpus["id"], dev.passage_texts(), strict=True)),
            relevant_docs={query: set(passages) for query, passages in dev.positives().items()},
            name="dev",
            accuracy_at_k=[1],
            precision_recall_at_k=[10],
            map_at_k=[100],
            batch_size=batch_size,
            write_csv=False,
            score_functions={"similarity": dot_score if similarity == "dot" else cos_sim},
        )

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Scores by metric; if memory runs out here, smaller training batches would not help."""
        try:
            return super().__call__(*args, **kwargs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                "finetuning: out of memory while the development set was scored; set a smaller "
                f"encoding.batch_size than {self.batch_size}"
            ) from None

    def embed_inputs(
        self, model: Any, sentences: Any, encode_fn_name: str | None = None, *_: Any, **__: Any
    ) -> Any:
        """Embeddings of shape (len(sentences), dimension)."""
        role: Role = "query" if encode_fn_name == "query" else "passage"
        with as_loaded(model, self.attention):
            vectors = TextEncoder(model, self.batch_size).encode(list(sentences), role)
        return torch.from_numpy(vectors)


@contextmanager
def as_loaded(model: Any, attention: str | None) -> Iterator[None]:
    """The model meanwhile computes as a loaded checkpoint with its weights does.

    accelerate wraps the forward pass for mixed precision, and `choose_attention` changes attention.
    """
    wrapped = model.__dict__.pop("forward", None)
    if attention is not None:
        in_training = model[0].model.config._attn_implementation
        model[0].model.set_attn_implementation(attention)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
        if attention is not None:
            model[0].model.set_attn_implementation(in_training)


class _Checkpointing(TrainerCallback):
    """Requests checkpoints by the clock, and resumes the loss curve where a checkpoint left it."""

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer
        self.last_save = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self.last_save = time.monotonic()
        if state.global_step > 0:
            # A resumed trainer has lost the losses since the curve's last point.
            path = self.trainer.work / f"checkpoint-{state.global_step}"
            progress = checkpoints.read_progress(path)
            self.trainer._tr_loss = torch.tensor(progress.pending_loss, device=args.device)
            self.trainer._globalstep_last_logged = progress.last_logged

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        overdue = time.monotonic() - self.last_save >= SAVE_EVERY
        # All ranks write a part, so all must agree: the first one's clock decides.
        if broadcast(torch.tensor(float(overdue), device=args.device)).item():
            control.should_save = True

    def on_save(self, *_: Any, **__: Any) -> None:
        self.last_save = time.monotonic()


class _Learning(TrainerCallback):
    """Stops a run whose loss is 0 throughout an epoch: it would end as it began, in silence."""

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer

    def on_epoch_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        resumed = any(entry.get("loss") for entry in state.log_history)
        learnt = torch.tensor(float(self.trainer.has_learnt or resumed), device=args.device)
        if not self.trainer.accelerator.reduce(learnt, reduction="sum").item():
            raise InputError(
                f"finetuning: the loss is 0 at each of the first {state.global_step:,} steps, so "
                "there is nothing to learn from these rows; give harder negatives "
                "(negatives.sampling hard), or for the objective triplet a larger finetuning.margin"
            )


class _LiveCurves(TrainerCallback):
    """Curves to follow while training: `WORK/live/plots/metrics/NAME.tsv`, by training step.

    transformers' own DVCLive callback counts log lines instead of steps, and logs steps twice that
    are trained twice after a kill. Here a resumed run rewrites the curves up to its checkpoint.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.live: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero:
            self.live = _Live(str(self.directory), save_dvc_exp=False, dvcyaml=None)
            for entry in state.log_history:
                self._log(entry)

    def on_log(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if self.live is not None:
            self._log(state.log_history[-1])

    def _log(self, entry: dict[str, Any]) -> None:
        self.live.step = entry["step"]
        for key, name in CURVES.items():
            if key in entry:
                self.live.log_metric(name, entry[key])
        self.live.make_summary()


class _Live(Live):
    """DVCLive without its look at the DVC repository.

    The stage has a dvc.yaml already; the look takes half a second, and fails without commits.
    """

    def _init_dvc(self) -> None:
        pass
