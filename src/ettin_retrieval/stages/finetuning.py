"""Stage finetuning: the base encoder trained on the pairs and their negatives.

Under `torchrun` or `accelerate launch` every process trains on its share of each batch, and the
first one writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.determinism import seed_everything
from ettin_retrieval.params import Settings
from ettin_retrieval.processes import this_process
from ettin_retrieval.records import read_dataset, replacing, write_json
from ettin_retrieval.stages import Paths, run_stage, tell_pinning

if TYPE_CHECKING:
    from ettin_retrieval.finetuning import Curve


def body(settings: Settings, paths: Paths) -> str | None:
    """Write the fine-tuned checkpoint, its development score and the training curves."""
    from ettin_retrieval.encoders import load_checkpoint, read_checkpoint, save_checkpoint
    from ettin_retrieval.finetuning import examples, finetune
    from ettin_retrieval.negatives import read_negatives
    from ettin_retrieval.resumption import configuration_key, remove_work, work_directory

    process = this_process()
    dev = read_dataset(paths["training"] / "dev")
    # The tables of the training set are not kept: its texts are, once, in the examples.
    train = read_dataset(paths["training"] / "train")
    pairs = examples(train, read_negatives(paths["negatives"]))
    del train
    dev_manifest = (paths["training"] / "dev" / "manifest.json").read_text(encoding="utf-8")
    base = read_checkpoint(paths["encoder"])["identity"]
    root = paths["finetuned"].with_name(paths["finetuned"].name + ".work")
    tell_pinning(settings, settings.finetuning.precision)
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(paths["encoder"])
    with process.main_process_first():
        key = configuration_key(
            settings, base, pairs, dev_manifest, process.num_processes, model.device.type
        )
        work = work_directory(root, key)
    curve = finetune(model, pairs, dev, settings, work)
    told = None
    if process.is_main_process:
        with replacing(paths["finetuned"]) as directory:
            save_checkpoint(model, directory, {"source": "finetuned", "revision": base})
        told = _write_curve(curve, paths)
        # Last: a run killed before this line finds its training done and only writes again.
        remove_work(work)
    if process.use_distributed:
        process.wait_for_everyone()
        process.destroy_process_group()
    return told


def _write_curve(curve: Curve, paths: Paths) -> str:
    before, best = curve.dev[0][1], max(score for _, score in curve.dev)
    write_json(
        paths["metrics"],
        {"dev_ndcg_at_10_before": before, "dev_ndcg_at_10": best, "step": curve.best_step},
    )
    write_json(paths["loss"], [{"step": s, "loss": v} for s, v in curve.loss])
    write_json(paths["dev"], [{"step": s, "dev_ndcg_at_10": v} for s, v in curve.dev])
    return f"dev nDCG@10 {before:.4f} -> {best:.4f} at step {curve.best_step}"


if __name__ == "__main__":
    run_stage(
        "finetuning",
        body,
        reads=["training", "negatives", "encoder"],
        writes=["finetuned", "metrics", "loss", "dev"],
    )
