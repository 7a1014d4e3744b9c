"""Fine-tune an encoder for retrieval: what the stages up to `finetuning` do, without DVC.

    python examples/train.py                 # the offline world, a minute on two cores
    python examples/train.py --model 17m     # the real encoder and MS MARCO, from the Hub

The weights are byte for byte those of `dvc repro`.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ettin_retrieval.runtime.determinism import pin_arithmetic, seed_everything
from ettin_retrieval.settings.load import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="an entry of encoders.yaml")
    parser.add_argument("--output", type=Path, default=Path("models/example"))
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)

    # Threads and instruction set have to be pinned before torch is imported.
    settings = load_settings("params.yaml", {"model": given.model})
    pin_arithmetic(settings.strict)

    from ettin_retrieval.base_encoder.make import make_base_encoder
    from ettin_retrieval.data.storage import read_dataset
    from ettin_retrieval.encoders.checkpoint import (
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from ettin_retrieval.mining.mine import mine
    from ettin_retrieval.sources.benchmark_data import write_benchmark
    from ettin_retrieval.sources.training_data import load_source, write_training
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    base, output = given.output / "base", given.output / "finetuned"
    benchmark, training = given.output / "benchmark", given.output / "training"

    # Data: queries that the benchmark asks too are left out of training.
    print(write_benchmark(settings, benchmark))
    source = load_source(settings, Path(settings.local.train))
    print(write_training(source, benchmark, settings, training))
    train, dev = read_dataset(training / "train"), read_dataset(training / "dev")

    # Pairs of a query and a positive, each with negatives that the base encoder finds.
    make_base_encoder(settings, base)
    pairs, report = mine(train, load_checkpoint(base), settings)
    print(report.summary(settings.negatives))
    examples = training_examples(train, pairs)

    # Training in place; the weights with the best development score stay in the model.
    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(base)
    curve = finetune(model, examples, dev, settings, given.output / "work")
    output.mkdir(parents=True, exist_ok=True)
    revision = read_checkpoint(base)["fingerprint"]
    record = save_checkpoint(model, output, {"source": "finetuned", "revision": revision})
    print(f"{output}: step {curve.best_step}, fingerprint {record['fingerprint'][:12]}")


if __name__ == "__main__":
    main()
