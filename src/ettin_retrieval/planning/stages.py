"""What the stages of the pipeline take: tokens, FLOPs, disk and memory."""

from __future__ import annotations

from typing import NamedTuple

from ettin_retrieval.base_encoder.pretrained import DEFAULT_LENGTH
from ettin_retrieval.data.heldout import SKETCH
from ettin_retrieval.encoders.encode import SHARD
from ettin_retrieval.mining.development import BY_WORDS, SAMPLE
from ettin_retrieval.planning.flops import Encoder
from ettin_retrieval.planning.sizes import MSMARCO_DOWNLOAD, Collection
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.examples import Example, rows_of

WEIGHT, MOMENTS = 4, 8  # bytes per parameter: itself or its gradient, and Adam's two moments
CHECKPOINTS = 3  # of the trainer at a time: the best, the last, and the one being written
CACHED = 2  # a stage's output exists twice: in the workspace and in DVC's cache
PARQUET_SHARE = 0.6  # bytes per character of a download, assumed: English, compressed fast
DIGEST = 8  # bytes of a passage in the sketch of a held-out collection
HITS, HIT_BYTES = 1000, 20  # passages kept per query, and bytes of one in a run file


class Stage(NamedTuple):
    """What one stage takes: tokens without padding, FLOPs, and bytes (memory: on a GPU if any)."""

    name: str
    texts: int = 0
    tokens: float = 0.0
    encoding: float = 0.0
    training: float = 0.0
    precision: str = ""
    disk: float = 0.0
    memory: float = 0.0


def stages_of(
    settings: Settings,
    encoder: Encoder,
    train: Collection,
    tasks: list[Collection],
    heldout: list[Collection],
) -> list[Stage]:
    """The stages of dvc.yaml that take time, memory or disk."""
    marco, mteb = settings.train_source == "msmarco", settings.benchmark_source == "mteb"
    characters = sum(task.characters for task in tasks)
    train_download = MSMARCO_DOWNLOAD[settings.data.msmarco_config] if marco else 0.0
    files = CACHED + settings.encoder.is_on_hub
    evaluation = _evaluation(settings, encoder, tasks)
    return [
        _data("training_data", [train], train_download),
        _data("benchmark_data", tasks, mteb * PARQUET_SHARE * characters),
        _heldout(settings, heldout, tasks if mteb else []),
        Stage("base_encoder", disk=files * WEIGHT * encoder.parameters),
        _negatives(settings, encoder, train),
        _finetuning(settings, encoder, train),
        evaluation,
        evaluation._replace(name="evaluate@finetuned"),
    ]


def lengths_of(settings: Settings) -> tuple[int, int]:
    """Tokens at which mining and evaluation cut queries and passages; `auto` is taken to be 512."""
    query, passage = settings.encoder.max_query_length, settings.encoder.max_passage_length
    return (
        DEFAULT_LENGTH if query == "auto" else query,
        DEFAULT_LENGTH if passage == "auto" else passage,
    )


def training_lengths_of(settings: Settings) -> tuple[int, int]:
    """Tokens at which training cuts queries and passages."""
    own = lengths_of(settings)
    query, passage = settings.training_lengths.values()
    return min(query or own[0], own[0]), min(passage or own[1], own[1])


def _data(name: str, collections: list[Collection], download: float) -> Stage:
    characters = sum(collection.characters for collection in collections)
    # The library datasets keeps what it downloads a second time.
    disk = CACHED * characters + (download + characters if download else 0)
    # The largest corpus as read, and as written.
    memory = 2 * max(c.passages.number * c.passages.characters for c in collections)
    texts = sum(c.passages.number + c.queries.number for c in collections)
    return Stage(name, texts=texts, disk=disk, memory=memory)


def _heldout(settings: Settings, heldout: list[Collection], cached: list[Collection]) -> Stage:
    """The held-out list; what `benchmark_data` downloads too is in the cache then."""
    names = {collection.name for collection in cached}
    new = [task for task in heldout if task.name not in names]
    on_hub = settings.heldout_source == "mteb"
    # A download and datasets' copy of it; of the output, the digests.
    downloads = on_hub * (1 + PARQUET_SHARE) * sum(task.characters for task in new)
    sketches = DIGEST * sum(min(SKETCH, task.passages.number) for task in heldout)
    read = _data("heldout", heldout, 0.0)
    return read._replace(disk=downloads + CACHED * sketches)


def _encoding(lengths: tuple[int, int], encoder: Encoder, collections: list[Collection]) -> Stage:
    """All texts once, at mean length (sorted batches are hardly padded), and their products."""
    query, passage = lengths
    parts = [(c.queries, query) for c in collections] + [(c.passages, passage) for c in collections]
    products = sum(c.queries.number * c.passages.number for c in collections)
    return Stage(
        "encoding",
        texts=sum(texts.number for texts, _ in parts),
        tokens=sum(texts.number * texts.tokens(cut) for texts, cut in parts),
        encoding=sum(texts.number * encoder.flops(texts.tokens(cut)) for texts, cut in parts)
        + 2.0 * products * encoder.config.hidden_size,
    )


def _development(settings: Settings, train: Collection, passages: int) -> Collection:
    """The development queries over so many of the source's passages."""
    queries = train.queries._replace(number=settings.data.dev_queries)
    return Collection("dev", train.passages.cut(passages), queries)


def _negatives(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    """Mining, and the pool that the development set is chosen from."""
    mined = settings.negatives.num_negatives > 0 and settings.negatives.sampling != "random"
    # A small corpus is encoded once for both.
    passages = settings.data.dev_queries * BY_WORDS + SAMPLE
    shared = mined and train.passages.number <= SAMPLE
    pool = _development(settings, train, 0 if shared else passages)
    read = [train, pool] if mined else [pool]
    largest = 4.0 * read[0].passages.number * encoder.config.hidden_size
    vectors = 4.0 * sum(c.passages.number for c in read) * encoder.config.hidden_size
    return _encoding(lengths_of(settings), encoder, read)._replace(
        name="negatives",
        precision="fp32",
        disk=settings.evaluation.cache_embeddings * vectors,
        # The embeddings, and those in the index, of one after the other.
        memory=WEIGHT * encoder.parameters + 2 * largest,
    )


def _finetuning(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    finetuning, negatives = settings.finetuning, settings.negatives.num_negatives
    pair = Example("", "", [""] * negatives, scores=[0.0] * (1 + negatives))
    rows = rows_of(pair, finetuning.objective)
    columns = len(rows[0][0]) - 1
    queries = train.queries.times(settings.epochs * len(rows))
    if finetuning.max_steps:
        at_a_step = settings.batch_size * finetuning.gradient_accumulation
        queries = queries._replace(number=finetuning.max_steps * at_a_step)
    passages = train.passages._replace(number=queries.number * columns)
    piece = finetuning.mini_batch_size
    at_once = settings.batch_size if piece == "auto" else min(piece, settings.batch_size)
    # sentence-transformers merges the columns of positives and negatives into one forward pass.
    # Its cached loss embeds each column by itself, piece by piece, and all of it twice.
    cached = finetuning.objective == "contrastive" and at_once < settings.batch_size
    batches = (at_once, at_once if cached else at_once * columns)
    training, activations = 0.0, []
    lengths, precision = training_lengths_of(settings), settings.training_precision
    for texts, cut, batch in zip((queries, passages), lengths, batches, strict=True):
        length = texts.padded(batch, cut)
        training += texts.number * (encoder.step(length) + cached * encoder.flops(length))
        activations.append(encoder.activations(batch, length, precision))
    dev = _development(settings, train, settings.data.dev_passages)
    epochs = 1 if finetuning.max_steps else settings.epochs
    evaluations = 1 + epochs * finetuning.evaluations_per_epoch
    embedded = _encoding(lengths, encoder, [Collection("training", passages, queries)])
    return embedded._replace(
        name="finetuning",
        encoding=evaluations * _encoding(lengths_of(settings), encoder, [dev]).encoding,
        training=training,
        precision=precision,
        disk=(CACHED * WEIGHT + CHECKPOINTS * (WEIGHT + MOMENTS)) * encoder.parameters,
        # Weights, gradients and moments.
        memory=(2 * WEIGHT + MOMENTS) * encoder.parameters
        + (max(activations) if cached else sum(activations)),
    )


def _evaluation(settings: Settings, encoder: Encoder, tasks: list[Collection]) -> Stage:
    vector = 4.0 * encoder.config.hidden_size
    passages = [task.passages.number for task in tasks]
    queries = [task.queries.number for task in tasks]
    cached = settings.evaluation.cache_embeddings * vector * sum(passages)
    shard = vector * min(SHARD, max(passages))
    return _encoding(lengths_of(settings), encoder, tasks)._replace(
        name="evaluate@base",
        precision=settings.evaluation.precision,
        disk=cached + CACHED * sum(queries) * HITS * HIT_BYTES,
        # Of a passage kept, score and row.
        memory=WEIGHT * encoder.parameters + shard + max(queries) * HITS * 12,
    )
