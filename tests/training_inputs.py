"""A small encoder, training examples and a development set: training them takes a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.normalisation import hash_texts
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.examples import Example
from ettin_retrieval.training.finetune import Curve, finetune

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["ash", "birch", "cedar", "date", "elm", "fir", "gum", "hazel", "iris", "juniper"]
SHAPE = {"layers": 2, "hidden_size": 32, "intermediate_size": 32, "heads": 2, "vocabulary": 300}


def settings(pooling: str = "mean", normalize: bool = True, **finetuning: Any) -> Settings:
    """The default settings with a smaller encoder, and changes of the section `finetuning`."""
    content = load_settings(ROOT / "params.yaml").model_dump()
    content["strict"] = False
    content["encoders"]["ettin_tiny"] |= {"pooling": pooling, "normalize": normalize}
    content["encoders"]["ettin_tiny"] |= {"max_query_length": 6, "max_passage_length": 9}
    content["encoders"]["ettin_tiny"]["shape"] = SHAPE
    content["negatives"]["num_negatives"] = 1
    small = {"batch_size": 4, "epochs": 2, "evaluations_per_epoch": 1}
    # A high temperature keeps losses well above the tolerances they are compared with.
    content["finetuning"] |= small | {"temperature": 1.0} | finetuning
    return Settings.model_validate(content)


def train_examples(count: int = 20) -> list[Example]:
    """A query of two words, a passage with them, and nearly another query's as negative."""
    pairs = [(WORDS[i % 10], WORDS[(i // 10 + i + 1) % 10]) for i in range(count)]
    texts = [f"{a} and {b} grow here number {i}" for i, (a, b) in enumerate(pairs)]
    return [
        Example(f"{a} {b} {i}", texts[i], [f"{texts[(i + 3) % count]} 0"], query_id=f"q{i}")
        for i, (a, b) in enumerate(pairs)
    ]


def known_examples(count: int) -> list[Example]:
    """The same, where the next three passages are relevant to a query too, and the last negative.

    Examples of a known positive that no row has are among them.
    """
    examples = train_examples(count)

    def relevant(i: int) -> tuple[int, ...]:
        texts = [examples[(i + step) % count].positive for step in range(4)]
        return tuple(hash_texts([*texts, examples[i - 1].negatives[0], "in no row"]).tolist())

    return [replace(e, relevant=relevant(i)) for i, e in enumerate(examples)]


def scored_examples(count: int) -> list[Example]:
    """The same with a teacher's scores."""
    return [replace(e, scores=[1.0, 0.1 * (i % 5)]) for i, e in enumerate(train_examples(count))]


def development() -> RetrievalDataset:
    """A query of one word and a passage with it, ten times."""
    ids = [str(i) for i in range(10)]
    return RetrievalDataset(
        frame([(i, "", f"{word} and trees") for i, word in zip(ids, WORDS, strict=True)], CORPUS),
        frame([(i, word) for i, word in zip(ids, WORDS, strict=True)], QUERIES),
        frame([(i, i, 1) for i in ids], QRELS),
        Origin("test", "1", "CC0-1.0", "dev"),
    )


def encoder(directory: Path, given: Settings) -> Any:
    """An encoder with random weights; its files go to a new directory."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    texts = [*WORDS, "and grow here number trees 0 1 2 3 4 5 6 7 8 9"]
    directory.mkdir(parents=True)
    return random_encoder(given.encoder, texts, 1, directory)


def trained(
    directory: Path, given: Settings, examples: list[Example] | None = None
) -> tuple[Any, Curve]:
    """A fine-tuned encoder and its curve; checkpoints are in `directory / "work"`."""
    model = encoder(directory / "encoder", given)
    examples = examples or train_examples()
    return model, finetune(model, examples, development(), given, directory / "work")


def losses(curve: Curve) -> list[float]:
    """The training losses of a curve."""
    return [loss for _, loss in curve.loss]
