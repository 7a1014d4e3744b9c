"""What a run will cost, before it is started: texts, tokens, arithmetic, disk, memory and hours.

Sizes of mteb's tasks are mteb's own descriptive statistics, which the package carries; shapes of
the Ettin encoders are known. Nothing is read from the network, and no weights are needed: a few
layers of the same shape with random weights say how fast this machine is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ettin_retrieval.encoding import SHARD
from ettin_retrieval.errors import InputError
from ettin_retrieval.flops import BACKWARD, ETTIN_SHAPES, Architecture, of_config, of_shape
from ettin_retrieval.params import ENCODER_PREFIX, SOURCE_OF_TIER, Precision, Settings

CHARACTERS_PER_TOKEN = 4.5
"""Of English: all-MiniLM-L6-v2's WordPiece takes 4.50 on the first 1,000 passages of SciFact."""

SPECIAL_TOKENS = 2
"""[CLS] and [SEP]."""

MSMARCO_ROWS = {"v1.1": 82_326, "v2.1": 808_731}
MSMARCO_DOWNLOAD = {"v1.1": 217_328_153, "v2.1": 1_384_271_865}
"""Rows of the train split and bytes to download, from the card of microsoft/ms_marco."""

MSMARCO_PASSAGES = {"v1.1": 8, "v2.1": 10}
"""Passages a row: 10 by design (Bajaj et al., 2016); about 8 where v1.1's card gives the bytes."""

MSMARCO_CHARACTERS = {"v1.1": 420, "v2.1": 336}
"""Of a passage: in v2.1 mteb's mean over MSMARCO's corpus, in v1.1 what the card's bytes leave."""

QUERY_CHARACTERS = 33
"""Of an MS MARCO query: mteb's mean over the dev split of MSMARCO."""

HITS = 1000
HIT_BYTES = 20
"""Passages kept of each query, and their bytes in a run file."""

ACTIVATION_BYTES = 34
"""Of a token and layer, times the hidden size, in 16 bits: kept for the backward pass, without
attention scores, which a fused kernel does not keep (Korthikanti et al., 2022, equation 2)."""

TRAINING_BYTES = 16
"""Of a parameter: weight, gradient and Adam's two moments, 4 bytes each."""

PROBE_LAYERS = 3
"""A global layer and two local ones: the repeating unit of a ModernBERT."""

PROBE_LENGTH = 128
PROBE_SECONDS = 1.5
PROBES = 3
"""The best of these counts: another program may have had the processor meanwhile."""

TEXT_STATISTICS = "mteb/descriptive_stats/Retrieval"
CQADUPSTACK = "CQADupstackRetrieval"


@dataclass(frozen=True)
class Gpu:
    """Published peaks for dense matrices, in TFLOP/s, and memory in GB.

    Attributes
    ----------
    fp32
        On the CUDA cores: PyTorch does not use TF32 unless it is told to.
    """

    name: str
    bf16: float
    fp32: float
    memory: int
    source: str


GPUS = {
    "H200": Gpu("H200 SXM", 989, 67, 141, "NVIDIA H200 data sheet"),
    "H100": Gpu("H100 SXM", 989, 67, 80, "NVIDIA H100 data sheet"),
    "A100": Gpu("A100 SXM 80 GB", 312, 19.5, 80, "NVIDIA A100 data sheet"),
    "L40S": Gpu("L40S", 362, 91.6, 48, "NVIDIA L40S data sheet"),
    "A10": Gpu("A10", 125, 31.2, 24, "NVIDIA A10 data sheet"),
    "L4": Gpu("L4", 121, 30.3, 24, "NVIDIA L4 data sheet"),
}
"""Data sheets that print bf16 with sparsity give twice the dense figure that is here."""

GPU_SHARE = {"bf16": 0.35, "fp16": 0.35, "fp32": 0.6}
"""Share of the peak that is assumed: nothing of the kind was measured on these GPUs."""


@dataclass(frozen=True)
class Texts:
    """A number of texts and their mean length in characters."""

    count: int
    characters: float

    def tokens_each(self, longest: int) -> float:
        """Mean tokens of a text that is cut at `longest`.

        A mean cannot tell how many texts are longer: this is an upper bound.

        >>> Texts(10, 45.0).tokens_each(512)
        12.0
        """
        return min(self.characters / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS, longest)

    def tokens(self, longest: int) -> float:
        """Tokens of all of them."""
        return self.count * self.tokens_each(longest)


@dataclass(frozen=True)
class Collection:
    """Passages and queries of a task or of a training set."""

    name: str
    passages: Texts
    queries: Texts


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


@dataclass(frozen=True)
class Rates:
    """Operations a second, of encoding and of training, for each precision."""

    forward: dict[str, float]
    training: dict[str, float]

    def hours(self, stage: Stage) -> float:
        """Of one stage, as far as it computes."""
        seconds = stage.forward / self.forward[stage.precision]
        return (seconds + stage.training / self.training[stage.precision]) / 3600


@dataclass(frozen=True)
class Plan:
    """A run's stages, and how fast they go here and on a GPU."""

    encoder: Encoder
    tasks: list[Collection]
    stages: list[Stage]
    here: Rates
    gpu: Gpu


def plan(settings: Settings, gpu: str, tasks: list[str] | str) -> Plan:
    """Count the stages of a run and probe this machine.

    Parameters
    ----------
    tasks
        Names, a tier of `params.SOURCE_OF_TIER`, or `auto`, as `evaluation.tasks` has them.

    Raises
    ------
    InputError
        A GPU or a task whose size is not known, or a local input that is not there.
    """
    if gpu not in GPUS:
        raise InputError(f"--gpu: unknown GPU {gpu!r}; there are {', '.join(GPUS)}")
    encoder = encoder_of(settings)
    collections = tasks_of(settings, tasks)
    stages = stages_of(settings, encoder, training_set(settings), collections)
    precisions = sorted({stage.precision for stage in stages})
    here = probe(encoder.architecture, precisions)
    return Plan(encoder, collections, stages, here, GPUS[gpu])


# ---------------------------------------------------------------------------------------------
# Sizes


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


def tasks_of(settings: Settings, wanted: list[str] | str) -> list[Collection]:
    """The collections that checkpoints are evaluated on.

    Raises
    ------
    InputError
        A name that the source of the tasks does not have.
    """
    found = _whole_collections(settings, wanted)
    most = settings.data.max_corpus_size
    return [
        replace(
            c, passages=replace(c.passages, count=min(c.passages.count, most or c.passages.count))
        )
        for c in found
    ]


def _whole_collections(settings: Settings, wanted: list[str] | str) -> list[Collection]:
    source = settings.benchmark_source
    if isinstance(wanted, str):
        source = SOURCE_OF_TIER.get(wanted, source)
    if source == "mteb":
        return [mteb_task(name) for name in mteb_names(wanted)]
    if source == "beir":
        found = beir_collections(Path(settings.local.benchmark))
    else:
        from ettin_retrieval.sources import synthetic

        found = [
            Collection(
                name,
                _texts(dataset.passage_texts()),
                _texts(dataset.queries["text"].tolist()),
            )
            for name, dataset in synthetic.benchmark().items()
        ]
    if isinstance(wanted, str):
        return found
    unknown = set(wanted) - {collection.name for collection in found}
    if unknown:
        there = ", ".join(collection.name for collection in found)
        raise InputError(f"evaluation.tasks: no {', '.join(sorted(unknown))}; there are {there}")
    return [collection for collection in found if collection.name in wanted]


def mteb_names(wanted: list[str] | str) -> list[str]:
    """Names of mteb's tasks for `evaluation.tasks`, CQADupstackRetrieval as its twelve parts."""
    from ettin_retrieval.sources.mteb_tasks import GUIDE_TASKS

    if wanted == "eng-v2":
        import mteb

        tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
        names = [t.metadata.name for t in tasks if t.metadata.type == "Retrieval"]
    else:
        names = list(GUIDE_TASKS) if isinstance(wanted, str) else wanted
    parts = sorted(path.stem for path in _statistics().glob("CQADupstack*Retrieval.json"))
    return [part for name in names for part in (parts if name == CQADUPSTACK else [name])]


def mteb_task(name: str) -> Collection:
    """Size of a task by mteb's descriptive statistics, of the split that is scored.

    Raises
    ------
    InputError
        mteb has no statistics of that name.
    """
    from ettin_retrieval.sources.mteb_tasks import split_of

    path = _statistics() / f"{name}.json"
    if not path.is_file():
        raise InputError(f"evaluation.tasks: mteb carries no statistics of {name!r}")
    statistics = json.loads(path.read_text(encoding="utf-8"))[split_of(name)]
    documents, queries = (
        statistics[f"{kind}_text_statistics"] for kind in ("documents", "queries")
    )
    return Collection(name, _described(documents), _described(queries))


def _described(statistics: dict[str, float]) -> Texts:
    characters = statistics["average_text_length"]
    return Texts(round(statistics["total_text_length"] / characters), characters)


def _statistics() -> Path:
    """Found without importing mteb, which takes seconds."""
    found = find_spec("mteb")
    if found is None or not found.submodule_search_locations:
        raise InputError("mteb is not installed")
    return Path(found.submodule_search_locations[0]).parent / TEXT_STATISTICS


def beir_collections(directory: Path) -> list[Collection]:
    """Sizes of a BEIR directory, or of a directory of them, by lines and bytes."""
    from ettin_retrieval.sources.beir import is_collection

    if is_collection(directory):
        parts = [directory]
    else:
        parts = sorted(path.parent for path in directory.glob("*/corpus.jsonl"))
    if not parts:
        raise InputError(f"{directory}: no corpus.jsonl there, nor one directory below")
    return [
        Collection(part.name, _lines(part / "corpus.jsonl"), _lines(part / "queries.jsonl"))
        for part in parts
    ]


def _lines(path: Path) -> Texts:
    count = size = 0
    with path.open("rb") as file:
        for line in file:
            count, size = count + 1, size + len(line)
    return Texts(count, size / max(count, 1))


def _texts(texts: list[str]) -> Texts:
    return Texts(len(texts), sum(map(len, texts)) / max(len(texts), 1))


def training_set(settings: Settings) -> Collection:
    """The training set, one query a pair."""
    source, most = settings.train_source, settings.data.max_train_queries
    if source == "synthetic":
        from ettin_retrieval.sources import synthetic

        rows = synthetic.training_rows()["train"]
        passages = [text for row in rows for text in row["passages"]["passage_text"]]
        made = Collection(source, _texts(passages), _texts([row["query"] for row in rows]))
    elif source == "beir":
        made = beir_collections(Path(settings.local.train))[0]
    elif source == "triplets":
        from ettin_retrieval.sources.triplets import TRAIN_ROWS

        made = _msmarco(source, TRAIN_ROWS, 2, MSMARCO_CHARACTERS["v2.1"])
    else:
        config = settings.data.msmarco_config
        made = _msmarco(
            source, MSMARCO_ROWS[config], MSMARCO_PASSAGES[config], MSMARCO_CHARACTERS[config]
        )
    share = 1.0 if most is None else min(1.0, most / made.queries.count)
    return Collection(made.name, _part(made.passages, share), _part(made.queries, share))


def _msmarco(name: str, rows: int, passages: int, characters: float) -> Collection:
    return Collection(name, Texts(rows * passages, characters), Texts(rows, QUERY_CHARACTERS))


def _part(texts: Texts, share: float) -> Texts:
    return Texts(round(texts.count * share), texts.characters)


# ---------------------------------------------------------------------------------------------
# Stages


def stages_of(
    settings: Settings, encoder: Encoder, train: Collection, tasks: list[Collection]
) -> list[Stage]:
    """The stages of dvc.yaml that take time, memory or disk."""
    evaluation = _evaluation(settings, encoder, tasks)
    return [
        _data("training_data", [train], settings),
        _data("benchmark_data", tasks, settings),
        Stage("base_encoder", disk=4.0 * encoder.architecture.parameters),
        _negatives(settings, encoder, train),
        _finetuning(settings, encoder, train),
        Stage("evaluate_base", **evaluation),
        Stage("evaluate_finetuned", **evaluation),
    ]


def _data(name: str, collections: list[Collection], settings: Settings) -> Stage:
    characters = sum(
        texts.count * texts.characters for c in collections for texts in (c.passages, c.queries)
    )
    download = 0
    if name == "training_data" and settings.train_source == "msmarco":
        download = MSMARCO_DOWNLOAD[settings.data.msmarco_config]
    # In memory as Python strings, about once, before it is written.
    return Stage(
        name,
        texts=sum(c.passages.count + c.queries.count for c in collections),
        disk=characters + download,
        memory=max(c.passages.count * c.passages.characters for c in collections),
    )


def _negatives(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    negatives = settings.negatives
    if negatives.per_query == 0 or negatives.sampling == "random":
        return Stage("negatives")
    vectors = 4.0 * train.passages.count * encoder.architecture.hidden
    return Stage(
        "negatives",
        texts=train.passages.count + train.queries.count,
        tokens=encoder.tokens(train),
        forward=encoder.encode(train),
        disk=vectors if settings.evaluation.keep_embeddings else 0.0,
        # The embeddings, and the index's copy of them.
        memory=4.0 * encoder.architecture.parameters + 2 * vectors,
    )


def _finetuning(settings: Settings, encoder: Encoder, train: Collection) -> Stage:
    architecture, data = encoder.architecture, settings.data
    passages_of_pair = 1 + settings.negatives.per_query
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
        disk=(4.0 + 12.0) * architecture.parameters,
        memory=TRAINING_BYTES * architecture.parameters
        + activation * tokens_at_a_time * architecture.layers * architecture.hidden,
    )


def _evaluation(settings: Settings, encoder: Encoder, tasks: list[Collection]) -> dict[str, Any]:
    width = encoder.architecture.hidden
    passages = sum(task.passages.count for task in tasks)
    queries = [task.queries.count for task in tasks]
    kept = 4.0 * width * passages if settings.evaluation.keep_embeddings else 0.0
    shard = 4.0 * width * min(SHARD, max(task.passages.count for task in tasks))
    return {
        "texts": passages + sum(queries),
        "tokens": sum(encoder.tokens(task) for task in tasks),
        "forward": sum(encoder.encode(task) for task in tasks),
        "precision": settings.evaluation.precision,
        "disk": kept + sum(queries) * HITS * HIT_BYTES,
        "memory": 4.0 * encoder.architecture.parameters + shard + max(queries) * HITS * 12,
    }


# ---------------------------------------------------------------------------------------------
# Speed


def gpu_rates(gpu: Gpu) -> Rates:
    """Published peaks times the assumed share."""
    peaks = {"bf16": gpu.bf16, "fp16": gpu.bf16, "fp32": gpu.fp32}
    rates = {precision: 1e12 * peak * GPU_SHARE[precision] for precision, peak in peaks.items()}
    return Rates(rates, rates)


def probe(architecture: Architecture, precisions: list[Precision]) -> Rates:
    """Measure a few layers of the same shape here, forward alone and with the backward pass."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    layers = min(PROBE_LAYERS, architecture.layers)
    measured = Architecture(layers, architecture.hidden, architecture.intermediate, 64)
    config = ModernBertConfig(
        vocab_size=64,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=max(1, architecture.hidden // 64),
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        model: Any = ModernBertModel(config)
    model = model.to(device)

    def rate(precision: Precision, training: bool) -> float:
        passes = 1 + BACKWARD if training else 1
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

        def run(texts: int) -> float:
            ids = torch.full((texts, PROBE_LENGTH), 3, device=device)
            with (
                torch.set_grad_enabled(training),
                torch.autocast(device, dtype=dtype, enabled=precision != "fp32"),
            ):
                hidden = model(input_ids=ids).last_hidden_state
            if training:
                hidden.float().sum().backward()
                model.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            return passes * measured.forward_flops([PROBE_LENGTH] * texts)

        return _rate(run)

    return Rates(
        {precision: rate(precision, training=False) for precision in precisions},
        {precision: rate(precision, training=True) for precision in precisions},
    )


def _rate(run: Callable[[int], float]) -> float:
    """Operations a second of a call that takes a number of texts: the best of `PROBES` tries."""
    run(1)
    start = time.perf_counter()
    run(1)
    per_text = time.perf_counter() - start
    texts = max(1, min(256, round(PROBE_SECONDS / PROBES / per_text)))
    best = 0.0
    for _ in range(PROBES):
        start = time.perf_counter()
        done = run(texts)
        best = max(best, done / (time.perf_counter() - start))
    return best


# ---------------------------------------------------------------------------------------------
# Text


def render(made: Plan) -> str:
    """The plan as a table, and what it rests on."""
    import pandas as pd

    there = gpu_rates(made.gpu)
    rows = [_row(stage, made.here, there) for stage in made.stages]
    total = {name: "" for name in rows[0]} | {"stage": "in all"}
    for name, rates in zip(list(rows[0])[-2:], (made.here, there), strict=True):
        total[name] = hours(sum(rates.hours(stage) for stage in made.stages))
    total["disk"] = size(sum(stage.disk for stage in made.stages))
    frame = pd.DataFrame([*rows, total]).rename(columns={"GPU": f"on {made.gpu.name}"})
    frame["stage"] = frame["stage"].str.ljust(frame["stage"].str.len().max())
    architecture = made.encoder.architecture
    passages = sum(task.passages.count for task in made.tasks)
    return "\n".join(
        [
            f"{made.encoder.name}: {architecture.parameters / 1e6:,.1f} million parameters, "
            f"{architecture.layers} layers, width {architecture.hidden}; "
            f"{len(made.tasks)} tasks, {passages:,} passages",
            "",
            frame.to_string(index=False),
            "",
            *(f"- {line}" for line in _assumptions(made)),
        ]
    )


def _row(stage: Stage, here: Rates, there: Rates) -> dict[str, str]:
    return {
        "stage": stage.name,
        "texts": f"{stage.texts:,}" if stage.texts else "",
        "tokens": f"{stage.tokens / 1e6:,.1f} M" if stage.tokens else "",
        "TFLOP": _significant((stage.forward + stage.training) / 1e12),
        "disk": size(stage.disk),
        "memory": size(stage.memory),
        "precision": stage.precision if stage.forward else "",
        "here": hours(here.hours(stage)),
        "GPU": hours(there.hours(stage)),
    }


def _assumptions(made: Plan) -> list[str]:
    measured = ", ".join(
        f"{precision} {made.here.forward[precision] / 1e9:,.0f} encoding and "
        f"{made.here.training[precision] / 1e9:,.0f} training"
        for precision in made.here.forward
    )
    gpu = made.gpu
    used = sorted(made.here.forward)
    shares = ", ".join(f"{GPU_SHARE[p]:.0%} of its peak in {p}" for p in used)
    peaks = ", ".join(f"{gpu.fp32 if p == 'fp32' else gpu.bf16:g} TFLOP/s in {p}" for p in used)
    large = [stage.name for stage in made.stages if stage.memory > gpu.memory * 1e9]
    return [
        *(f"{name} needs more memory than {gpu.name} has" for name in large),
        f"here: GFLOP/s measured now on {PROBE_LAYERS} layers of this width: {measured}",
        f"{gpu.name}: {peaks} (dense; {gpu.source}), assumed, not measured: {shares}; "
        f"{gpu.memory} GB of memory",
        f"tokens: {CHARACTERS_PER_TOKEN} characters each, assumed; texts of mean length, cut at "
        f"{made.encoder.query_length} (queries) and {made.encoder.passage_length} (passages)",
        "hours are those of arithmetic alone: no download, reading or tokenising; memory is "
        "weights, optimizer, activations of the rows embedded at a time and embeddings, without "
        "Python and its libraries",
        f"fine-tuning {'in bf16 would take' if 'bf16' not in used else 'in bf16 takes'} "
        f"{hours(_bf16_hours(made, 'finetuning'))} on {gpu.name}, an evaluation "
        f"{hours(_bf16_hours(made, 'evaluate_base'))}",
    ]


def _bf16_hours(made: Plan, name: str) -> float:
    stage = next(stage for stage in made.stages if stage.name == name)
    rate = gpu_rates(made.gpu).forward["bf16"]
    return (stage.forward + stage.training) / rate / 3600


def hours(value: float) -> str:
    """Hours in words that fit their size.

    >>> hours(0), hours(0.001), hours(0.5), hours(30), hours(1000)
    ('', '4 s', '30 min', '30.0 h', '41.7 days')
    """
    if value == 0:
        return ""
    if value < 1 / 60:
        return f"{max(1, round(value * 3600))} s"
    if value < 1:
        return f"{value * 60:.0f} min"
    return f"{value:.1f} h" if value < 48 else f"{value / 24:,.1f} days"


def size(value: float) -> str:
    """Bytes in units of a thousand.

    >>> size(0), size(1500), size(2.5e9)
    ('', '1.5 kB', '2.5 GB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.1f} {unit}"
    return "" if value == 0 else f"{value:.0f} B"


def _significant(value: float) -> str:
    """Three digits at least.

    >>> _significant(0), _significant(0.01234), _significant(12345.6)
    ('', '0.0123', '12,346')
    """
    if value == 0:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
