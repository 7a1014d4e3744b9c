"""Fine-tune an encoder for retrieval: what the stages `negatives` and `finetuning` do, without DVC.

Run it after `make repro`, which makes the training data and the base encoder:

    python examples/train.py
    python examples/evaluate.py

The weights are byte for byte those of models/finetuned. Settings are those of params.yaml.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.determinism import pin_arithmetic, seed_everything
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.load import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=Path, default=Path("data/training"))
    parser.add_argument("--encoder", type=Path, default=Path("models/base"))
    parser.add_argument("--output", type=Path, default=Path("models/example"))
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)

    # 1. Settings. Threads and instruction set have to be pinned before torch is imported.
    settings = load_settings("params.yaml")
    pin_arithmetic(settings.strict)

    from ettin_retrieval.encoders.checkpoint import (
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from ettin_retrieval.mining.development import development_set
    from ettin_retrieval.mining.mine import mine
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    # 2. Queries and relevant passages to train on, and a development set to pick the checkpoint.
    train, dev = (read_dataset(given.training / name) for name in ("train", "dev"))
    print(f"{len(train.queries):,} training and {len(dev.queries):,} development queries")

    # 3. Negatives of each pair of a query and a relevant passage, mined by the base encoder, and
    # the passages that it finds near the development queries.
    base = load_checkpoint(given.encoder)
    pairs, report = mine(train, base, settings)
    print(report.summary(settings.negatives))
    dev = development_set(train, dev, base, settings)

    # 4. Training, in place. The model ends with the best weights or the last (finetuning.keep).
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(given.encoder)
    examples = training_examples(train, pairs)
    with TemporaryDirectory() as work:  # for the trainer's checkpoints
        curve = finetune(model, examples, dev, settings, Path(work))
    print(f"dev nDCG@10 {curve.before:.4f} -> {curve.score:.4f}")

    # 5. A SentenceTransformer directory, with a record of where it comes from.
    revision = read_checkpoint(given.encoder)["fingerprint"]
    with replacing(given.output) as directory:
        origin = {"source": "finetuned", "revision": revision, "training": curve.conditions}
        save_checkpoint(model, directory, origin)
    print(f"{given.output}: the weights of step {curve.best_step}")


if __name__ == "__main__":
    main()
