"""Stage finetuning: the base encoder trained on the pairs and their negatives."""

from __future__ import annotations

import shutil

from ettin_retrieval.determinism import seed_everything
from ettin_retrieval.params import Settings
from ettin_retrieval.records import read_dataset, replacing, write_json
from ettin_retrieval.stages import Paths, run_stage


def body(settings: Settings, paths: Paths) -> str:
    """Write the fine-tuned checkpoint, its development score and the training curves."""
    from ettin_retrieval.encoders import load_checkpoint, read_checkpoint, save_checkpoint
    from ettin_retrieval.finetuning import examples, finetune
    from ettin_retrieval.negatives import read_negatives

    train = read_dataset(paths["training"] / "train")
    dev = read_dataset(paths["training"] / "dev")
    pairs = examples(train, read_negatives(paths["negatives"]))
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(paths["encoder"])
    work = paths["finetuned"].with_name(paths["finetuned"].name + ".work")
    curve = finetune(model, pairs, dev, settings, work)
    base = read_checkpoint(paths["encoder"])
    with replacing(paths["finetuned"]) as directory:
        save_checkpoint(model, directory, {"source": "finetuned", "revision": base["identity"]})
    shutil.rmtree(work, ignore_errors=True)
    scores = dict(curve.dev)
    best = max(scores.values())
    write_json(
        paths["metrics"],
        {"dev_ndcg_at_10_before": curve.dev[0][1], "dev_ndcg_at_10": best, "step": curve.best_step},
    )
    write_json(paths["loss"], [{"step": s, "loss": v} for s, v in curve.loss])
    write_json(paths["dev"], [{"step": s, "dev_ndcg_at_10": v} for s, v in curve.dev])
    return f"dev nDCG@10 {curve.dev[0][1]:.4f} -> {best:.4f} at step {curve.best_step}"


if __name__ == "__main__":
    run_stage(
        "finetuning",
        body,
        reads=["training", "negatives", "encoder"],
        writes=["finetuned", "metrics", "loss", "dev"],
    )
