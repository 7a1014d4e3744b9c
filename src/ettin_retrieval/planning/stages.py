"""What the stages of the pipeline take: tokens, arithmetic, disk and memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.encoders.encode import SHARD
from ettin_retrieval.planning.flops import BACKWARD, ETTIN_SHAPES, Architecture, of_config, of_shape
from ettin_retrieval.planning.sizes import MSMARCO_DOWNLOAD, Collection, Texts
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import ENCODER_PREFIX, Precision, Settings

HITS = 1000

HIT_BYTES = 20
"""Passages kept of each query, and their bytes in a run file."""

ACTIVATION_BYTES = 34
"""Of a token and layer, times the hidden size, in 16 bits: kept for the backward pass, without
attention scores, which a fused kernel does not keep (Korthikanti et al., 2022, equation 2)."""

PARQUET_SHARE = 0.6
"""Bytes of a Parquet download by the characters in it, assumed: English text compressed fast."""

CACHED = 2
"""A stage's output is there twice: in the workspace, and as a copy in DVC's cache."""

TEXTS_IN_MEMORY = 2
"""Times its characters that the largest collection takes: as read, and as what is written."""

TRAINING_BYTES = 16
"""Of a parameter: weight, gradient and Adam's two moments, 4 bytes each."""


@dataclass(frozen=True)
class Encoder:
    """The selected encoder: what it costs, and where it cuts texts."""

    name: str
    architecture: Architecture
    query_length: int
    passage_length: int

    def flops(self, texts: Texts, longest: int) -> float:
        """Operations of encoding texts, all taken as of mean length."""
        return texts.count * self.architecture.forward_flops([texts.tokens_each(longest)])

    def encode(self, collection: Collection) -> float:
        """Operations of encoding passages and queries and multiplying each with each."""
        passages, queries = collection.passages, collection.queries
        products = 2.0 * passages.count * queries.count * self.architecture.hidden
        return (
            self.flops(passages, self.passage_length)
            + self.flops(queries, self.query_length)
            + products
        )

    def tokens(self, collection: Collection) -> float:
        """Tokens of passages and queries."""
        return collection.passages.tokens(self.passage_length) + collection.queries.tokens(
            self.query_length
        )


@dataclass(frozen=True)
class Stage:
    """What one stage of the pipeline takes.

    Attributes
    ----------
    texts
        Texts read, or encoded once for every time.
    forward, training
        Operations of encoding, and of training steps.
    memory
        Bytes, on the device where there is one.
    """

    name: str
    texts: int = 0
    tokens: float = 0.0
    forward: float = 0.0
    training: float = 0.0
    precision: Precision = "fp32"
    disk: float = 0.0
    memory: float = 0.0


def encoder_of(settings: Settings) -> Encoder:
    """Shape and lengths of the selected encoder."""
    entry = settings.encoder
    if entry.shape is not None:
        architecture = of_shape(entry.shape)
    elif entry.source == "local":
        path = Path(settings.local.encoder) / "config.json"
        if not path.is_file():
            raise InputError(f"{path}: no such file; set local.encoder to a model's directory")
        architecture = of_config(json.loads(path.read_text(encoding="utf-8")))
    elif settings.model in ETTIN_SHAPES:
        architecture = of_shape(ETTIN_SHAPES[settings.model])
    else:
        raise InputError(
            f"encoders.{ENCODER_PREFIX}{settings.model}: its shape is not known without a hub; "
            f"known: {', '.join(ETTIN_SHAPES)}, local directories and encoders with a shape"
        )
    query, passage = entry.max_query_length, entry.max_passage_length
    return Encoder(
        settings.model,
        architecture,
        64 if query == "auto" else query,
        512 if passage == "auto" else passage,
    )


def stages_of(
    settings: Settings, encoder: Encoder, train: Collection, tasks: list[Collection]
) -> list[Stage]:
    """The stages of dvc.yaml that take time, memory or disk."""
    evaluation = _evaluation(settings, encoder, tasks)
    return [
        _data("training_data", [train], settings),
        _data("benchmark_data", tasks, settings),
        _base_encoder(settings, encoder),
        _negatives(settings, encoder, train),
        _finetuning(settings, encoder, train),
        Stage("evaluate_base", **evaluation),
        Stage("evaluate_finetuned", **evaluation),
    ]


def _base_encoder(settings: Settings, encoder: Encoder) -> Stage:
    weights = 4.0 * encoder.architecture.parameters
    # One more in the hub's cache, where it comes from there.
    from_hub = settings.encoder.shape is None and settings.encoder.source != "local"
    return Stage("base_encoder", disk=(CACHED + from_hub) * weights)


def _data(name: str, collections: list[Collection], settings: Settings) -> Stage:
    characters = sum(
        texts.count * texts.characters for c in collections for texts in (c.passages, c.queries)
    )
    cached = 0.0
    if name == "training_data" and settings.train_source == "msmarco":
        cached = MSMARCO_DOWNLOAD[settings.data.msmarco_config] + characters
    elif name == "benchmark_data" and settings.benchmark_source == "mteb":
        # The hub's Parquet files, and what the library datasets makes of them.
        cached = PARQUET_SHARE * characters + characters
    return Stage(
        name,
        texts=sum(c.passages.count + c.queries.count for c in collections),
        disk=CACHED * characters + cached,
        memory=TEXTS_IN_MEMORY * max(c.passages.count * c.passages.characters for c in collections),
    )


def _negatives(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    negatives = settings.negatives
    if negatives.num_negatives == 0 or negatives.sampling == "random":
        return Stage("negatives")
    vectors = 4.0 * train.passages.count * encoder.architecture.hidden
    return Stage(
        "negatives",
        texts=train.passages.count + train.queries.count,
        tokens=encoder.tokens(train),
        forward=encoder.encode(train),
        disk=vectors if settings.evaluation.cache_embeddings else 0.0,
        # The embeddings, and the index's copy of them.
        memory=4.0 * encoder.architecture.parameters + 2 * vectors,
    )


def _finetuning(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    architecture, data = encoder.architecture, settings.data
    passages_of_pair = 1 + settings.negatives.num_negatives
    pairs = train.queries.count * settings.epochs
    step = Collection(
        "trained on",
        Texts(pairs * passages_of_pair, train.passages.characters),
        Texts(pairs, train.queries.characters),
    )
    forward = encoder.flops(step.passages, encoder.passage_length)
    forward += encoder.flops(step.queries, encoder.query_length)
    dev = Collection(
        "dev",
        Texts(data.dev_passages, train.passages.characters),
        Texts(data.dev_queries, train.queries.characters),
    )
    evaluations = 1 + settings.epochs * settings.finetuning.evaluations_per_epoch
    precision = settings.finetuning.precision
    piece = settings.finetuning.mini_batch_size
    at_a_time = settings.batch_size if piece == "auto" else piece
    tokens_at_a_time = at_a_time * encoder.tokens(step) / pairs
    # The cached loss embeds every piece twice.
    cached = settings.finetuning.objective == "contrastive" and at_a_time < settings.batch_size
    activation = ACTIVATION_BYTES * (2 if precision == "fp32" else 1)
    return Stage(
        "finetuning",
        texts=step.passages.count + step.queries.count,
        tokens=encoder.tokens(step),
        forward=evaluations * encoder.encode(dev),
        training=(1 + cached + BACKWARD) * forward,
        precision=precision,
        # The checkpoint, and while training one with Adam's moments.
        disk=(CACHED * 4.0 + 12.0) * architecture.parameters,
        memory=TRAINING_BYTES * architecture.parameters
        + activation * tokens_at_a_time * architecture.layers * architecture.hidden,
    )


def _evaluation(settings: Settings, encoder: Encoder, tasks: list[Collection]) -> dict[str, Any]:
    width = encoder.architecture.hidden
    passages = sum(task.passages.count for task in tasks)
    queries = [task.queries.count for task in tasks]
    kept = 4.0 * width * passages if settings.evaluation.cache_embeddings else 0.0
    shard = 4.0 * width * min(SHARD, max(task.passages.count for task in tasks))
    return {
        "texts": passages + sum(queries),
        "tokens": sum(encoder.tokens(task) for task in tasks),
        "forward": sum(encoder.encode(task) for task in tasks),
        "precision": settings.evaluation.precision,
        "disk": kept + CACHED * sum(queries) * HITS * HIT_BYTES,
        "memory": 4.0 * encoder.architecture.parameters + shard + max(queries) * HITS * 12,
    }
