"""Stage finetuning: train the base encoder and write models/finetuned and the training curves.

Under `torchrun` or `accelerate launch` every rank trains on its share of each batch, and the
first one writes.
"""

from __future__ import annotations

from ettin_retrieval.data.negatives import DEVELOPMENT, read_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.pipeline import Paths, run_stage, warn_of_strict_mode
from ettin_retrieval.runtime.determinism import seed_everything
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.runtime.distributed import process_state
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Load the pairs, train, and write the checkpoint to keep: the best or the last one."""
    from ettin_retrieval.encoders.checkpoint import (
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from ettin_retrieval.training.checkpoints import configuration_key, remove_work, work_directory
    from ettin_retrieval.training.conditions import training_precision
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    state = process_state()
    train = read_dataset(paths["training"] / "train")
    examples = training_examples(train, read_negatives(paths["negatives"]))
    del train  # the examples hold its texts, once
    dev = read_dataset(paths["negatives"] / DEVELOPMENT)
    dev_manifest = (paths["negatives"] / DEVELOPMENT / "manifest.json").read_text(encoding="utf-8")
    base = read_checkpoint(paths["encoder"])["fingerprint"]
    warn_of_strict_mode(settings, training_precision(settings, device_type()))
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(paths["encoder"])
    world_size, device = state.num_processes, model.device.type
    with state.main_process_first():
        key = configuration_key(settings, base, examples, dev_manifest, world_size, device)
        work = work_directory(paths["finetuned"].with_suffix(".work"), key)
    curve = finetune(model, examples, dev, settings, work)
    if state.is_main_process:
        with replacing(paths["finetuned"]) as directory:
            origin = {"source": "finetuned", "revision": base, "training": curve.conditions}
            save_checkpoint(model, directory, origin)
        write_json(paths["metrics"], curve.metrics())
        write_json(paths["loss"], [{"step": step, "loss": loss} for step, loss in curve.loss])
        write_json(paths["dev"], [{"step": step, "dev_ndcg_at_10": s} for step, s in curve.dev])
        # Last, so that a run killed before this line finds its training done.
        remove_work(work)
    if state.use_distributed:
        state.wait_for_everyone()
        state.destroy_process_group()
    return f"dev nDCG@10 {curve.before:.4f} -> {curve.score:.4f} at step {curve.best_step}"


if __name__ == "__main__":
    run_stage(
        "finetuning",
        run,
        reads=["training", "negatives", "encoder"],
        writes=["finetuned", "metrics", "loss", "dev"],
    )
