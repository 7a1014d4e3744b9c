"""The sections of params.yaml and the entries of encoders.yaml: every key, its type and meaning.

>>> Finetuning.model_validate({"objective": "triplet"}).margin
0.3
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**31 - 1
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)

Track = Literal["tiny", "paper", "local"]
TrainSource = Literal["tiny", "msmarco", "triplets", "beir"]
BenchmarkSource = Literal["tiny", "mteb", "beir"]
Tier = Literal["auto", "tiny", "guide", "eng-v2", "paper"]
Precision = Literal["fp32", "bf16", "fp16"]
Keep = Literal["best", "last"]
Objective = Literal["contrastive", "triplet", "cosine_similarity", "margin_mse"]
Sampling = Literal["random", "hard", "semi_hard"]
NegativeSource = Literal["corpus", "row", "row_or_corpus"]
Pooling = Literal["mean", "cls", "max"]
RecipeName = Literal["guide", "paper"]
Auto = Literal["auto"]

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""The range of numpy's and torch's generators."""
Length = Annotated[int, Field(ge=3, le=LARGEST)]
"""In tokens: at least one of a text, between the two special tokens."""
Rate = Annotated[float, Field(gt=0)]
LearningRate = Annotated[float, Field(ge=1e-9, le=1)]
"""An optimizer step of Adam changes a weight by at most about the rate. Weights of 0.02 and more do
not change by less than 1e-9 in fp32."""
Temperature = Annotated[float, Field(ge=1e-3, le=100)]
"""Beyond these the softmax of cosines is 0 and 1, or the same for all passages: no gradient."""
Share = Annotated[float, Field(ge=0, le=1)]
NotNegativeFloat = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A mapping in a settings file: unknown keys and wrong types are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Shape(Section):
    """Size of a ModernBERT with random weights."""

    layers: Positive
    hidden_size: Positive
    intermediate_size: Positive
    heads: Positive
    # Special tokens and the characters of the tiny world take 87.
    vocabulary: Annotated[int, Field(ge=128, le=LARGEST)]

    @model_validator(mode="after")
    def _heads_divide_hidden_size(self) -> Shape:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}"
            )
        return self


class Schedule(Section):
    """Length of training in one recipe; `batch_size` counts queries per training step."""

    batch_size: Positive
    epochs: Positive


class Tuning(Schedule):
    """Hyperparameters of one encoder in one recipe: what `auto` means in `finetuning`."""

    learning_rate: LearningRate
    """Peak rate. In recipe `paper` it comes from `ettin-retrieval sweep` where studies/sweeps has
    a record, and is an untuned starting value otherwise."""


class Family(Section):
    """What the encoders with one `base` in encoders.yaml share.

    For `pooling`, `normalize` and the lengths, `auto` keeps what a sentence-transformers directory
    states, and otherwise means mean pooling, normalisation, and the smaller of 512 tokens and the
    encoder's maximum.
    """

    source: str
    """A hub id such as `jhu-clsp/ettin-encoder-{size}` (an entry's name without `ettin_` replaces
    `{size}`), `local` (the directory `local.encoder`) or `tiny` (random weights of `shape`)."""
    revision: str | None
    """Branch, tag or commit of a hub id; null for the others. The commit it resolves to is
    recorded with the checkpoint."""
    pooling: Pooling | Auto
    normalize: bool | Auto
    """A normalised encoder is trained, mined and evaluated by cosine, any other by dot product."""
    max_query_length: Length | Auto
    """Where mining, the development score and evaluation cut queries, and the next one passages.
    They are saved with the checkpoint and are part of what a score is a score of; training has
    its own, `finetuning.max_query_length` and `finetuning.max_passage_length`."""
    max_passage_length: Length | Auto
    guide: Schedule
    paper: Schedule
    shape: Shape | None = None

    @model_validator(mode="after")
    def _source_is_complete(self) -> Family:
        if not HUB_ID.fullmatch(self.source.replace("{size}", "1b")):
            raise ValueError(
                f"source: {self.source!r} is not a hub id such as jhu-clsp/ettin-encoder-1b; for a "
                "directory write source: local, and name it with -S local.encoder=DIR"
            )
        if self.is_on_hub and self.revision is None:
            raise ValueError("revision: a hub id needs a branch, tag or commit, such as main")
        if (self.source == "tiny") != (self.shape is not None):
            raise ValueError("shape: give it if and only if source is tiny")
        return self

    @property
    def is_on_hub(self) -> bool:
        """Whether the source is a hub id."""
        return self.source not in {"tiny", "local"}


class Encoder(Family):
    """One encoder, with the values of its family and its own learning rates."""

    track: Track
    guide: Tuning
    paper: Tuning


class Rates(Section):
    """Learning rate in each recipe."""

    guide: LearningRate
    paper: LearningRate


class Entry(Section):
    """One entry of encoders.yaml."""

    track: Track
    """Default training and benchmark data: `tiny` (generated, offline), `paper` (MS MARCO and
    MTEB) or `local` (BEIR directories)."""
    base: Family
    """Names a family in the file, or is a mapping like one."""
    lr: Rates


class Local(Section):
    """Your own inputs. DVC tracks them, so a changed file re-runs what depends on it."""

    encoder: str
    """A sentence-transformers or transformers directory, for `model: local`."""
    train: str
    """A BEIR directory, for `data.train: beir`."""
    benchmark: str
    """A BEIR directory or a directory of them, for `data.benchmark: beir`."""


class Data(Section):
    """Training and benchmark data."""

    train: Auto | TrainSource = "auto"
    """`auto` follows the encoder's track, and on the track `paper` the recipe."""
    benchmark: Auto | BenchmarkSource = "auto"
    """`auto` follows the tier in `evaluation.tasks`, and otherwise the encoder's track."""
    msmarco_config: Literal["v1.1", "v2.1"] = "v1.1"
    """Configuration of microsoft/ms_marco: v1.1 (82 thousand queries) or v2.1 (809 thousand)."""
    rows_without_positive: Literal["auto", "error", "skip"] = "auto"
    """MS MARCO rows without a selected passage: `error`, `skip` (counted in the manifest) or
    `auto`, which skips them in microsoft/ms_marco, where they are known, and fails elsewhere."""
    strict_judgments: bool = False
    """Refuse a collection with a relevant passage that has no text or is not in the corpus, as
    Cranfield and ArguAna have. false says how many there are; they are scored as in mteb (as the
    empty text, as not found) and left out of training."""
    max_train_queries: Positive | None = None
    """Number of training queries, a seeded sample; null takes all."""
    dev_queries: Positive = 500
    """Size of the development set. Held out of the training queries (at most a tenth of them) if
    the source has no development split. `auto` is the recipe's value."""
    dev_passages: Positive = 5000
    """Size of the development corpus: all judged passages, the rest the nearest ones to the queries
    by BM25 and by the base encoder, from the source's whole corpus."""
    max_corpus_size: Positive | None = None
    """Cut every benchmark corpus to this many passages: all judged ones, the rest a seeded sample.
    For a first look; such tasks have names of their own. null cuts nothing."""
    decontaminate: bool | Literal["answers"] = True
    """Leave out training queries that a held-out task has too, or that share a relevant passage
    with another collection. `answers` also leaves out those that share one with the test queries
    of their own collection; false keeps all. Overlaps are reported in any case."""
    heldout: Annotated[list[str], Field(min_length=1)] | Tier = "auto"
    """The tasks that training is decontaminated against, whole, whatever `evaluation.tasks` and
    `max_corpus_size` say: `auto` (all tasks of the benchmark data; for mteb those of `guide` and
    `eng-v2`), a tier, or a list of names, for a machine that cannot hold 33 million passages."""


class Negatives(Section):
    """Choice of negatives, in the words of sentence-transformers' `mine_hard_negatives`.

    A candidate must score below (1 - relative_margin) x the positive's score and below the
    positive's score - absolute_margin. 0 sets no bound.
    """

    sampling: Sampling = "hard"
    """`random` (a seeded sample), `hard` (near the query by the base encoder) or `semi_hard` (near
    the query, but below the positive by less than `finetuning.margin`)."""
    source: NegativeSource = "corpus"
    """Candidates: `corpus`, `row` (the query's own passages judged 0; a shortfall is filled at
    random from the corpus) or `row_or_corpus` (`row`, or `corpus` if nothing is judged 0, as in
    most BEIR collections). margin_mse always takes passages that the teacher has scored."""
    sampling_strategy: Literal["top", "random"] = "top"
    """Of the eligible candidates take the `top` ones or a seeded `random` sample."""
    num_negatives: NotNegative = 7
    """Negatives per pair of a query and a positive; 0 trains on in-batch negatives alone."""
    range_min: NotNegative = 0
    """Skip this many of the nearest candidates, which are likely unjudged positives."""
    range_max: Positive = 100
    """Last rank of the candidates."""
    relative_margin: Share = 0.0
    absolute_margin: NotNegativeFloat = 0.0

    @model_validator(mode="after")
    def _range_fits(self) -> Negatives:
        if self.sampling != "random":
            if self.range_max < self.range_min + self.num_negatives:
                raise ValueError(
                    f"range_max {self.range_max} is smaller than range_min {self.range_min} "
                    f"+ num_negatives {self.num_negatives}"
                )
            return self
        for name in ("range_min", "relative_margin", "absolute_margin"):
            if value := getattr(self, name):
                raise ValueError(
                    f"{name}: must be 0, not {value}: random negatives have no ranks and scores"
                )
        return self


class Finetuning(Section):
    """Training hyperparameters."""

    objective: Objective = "contrastive"
    """`contrastive` (in-batch and mined negatives), `triplet`, `cosine_similarity` or `margin_mse`
    (distillation; needs a teacher's scores, which the tiny world and BEIR directories with
    teacher/train.tsv have)."""
    temperature: Temperature = 0.05
    """Divides the similarities before the softmax of the contrastive objective: 0.05 is a scale of
    20. `auto`, here and for all others that have no description of it, is the recipe's value."""
    margin: Rate = 0.3
    """Of the triplet objective and of semi-hard negatives, in similarity."""
    learning_rate: LearningRate | Auto = "auto"
    """`auto`, here and for the next two, is the encoder's value in the recipe, in encoders.yaml."""
    batch_size: Positive | Auto = "auto"
    epochs: Positive | Auto = "auto"
    max_steps: Positive | None = None
    """Optimizer steps in place of `epochs`, however many rows there are; development evaluations
    are then counted over the whole training. null follows `epochs`."""
    warmup_ratio: Share = 0.1
    """Share of the steps over which the learning rate rises from zero; it falls to zero, linearly,
    over the others."""
    weight_decay: NotNegativeFloat = 0.01
    max_query_length: Length | Auto | None = "auto"
    """Where training cuts queries, and the next one passages. `auto` is the recipe's value, or the
    encoder's in encoders.yaml if that is lower; null cuts where evaluation does. Never beyond that:
    a higher number is lowered to it, and the log says so."""
    max_passage_length: Length | Auto | None = "auto"
    precision: Precision | Auto = "auto"
    """Of the forward and backward pass; weights and optimizer are in fp32. `auto` is the recipe's,
    unless that is bf16 and the hardware would emulate it: then it is fp32, and the log says so."""
    gradient_accumulation: Positive = 1
    """Batches per optimizer step. The contrastive objective contrasts within a batch only."""
    mini_batch_size: Positive | Auto = "auto"
    """Rows encoded at a time. A number below the batch size limits memory: the contrastive
    objective uses the cached loss, the others accumulate gradients. `auto` takes the whole batch
    and halves it when memory runs out."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time, the same gradients."""
    evaluations_per_epoch: Positive = 2
    """Evaluations on the development set; each saves a checkpoint."""
    keep: Keep = "best"
    """The weights that training ends with: those of the `best` development score, or the `last`."""
    early_stopping: Positive | None = None
    """Stop after this many evaluations without an improvement; null never stops early. Only with
    `keep: best`."""


class Encoding(Section):
    """How texts are encoded, wherever they are."""

    batch_size: Positive = 32
    """Texts of full length per forward pass on a GPU. Shorter texts share a pass in greater
    number: it is a budget of `batch_size` times the maximum length in tokens. A CPU always takes
    the budget that suits its caches, so this changes no byte there."""


class Evaluation(Section):
    """How checkpoints are evaluated."""

    tasks: Annotated[list[str], Field(min_length=1)] | Tier = "auto"
    """`auto` (all tasks of the benchmark; for mteb the guide's 15), a list of names, or a tier:
    `tiny`, `guide` (its 15 tasks), `eng-v2` (the ten of MTEB(eng, v2), over which the paper
    averages) or `paper` (these ten and MSMARCO: what the paper's columns need)."""
    precision: Precision = "fp32"
    """Of the encoder's forward pass; similarities are always computed in fp32."""
    cache_embeddings: bool = False
    """Keep passage embeddings in data/embeddings and reuse them when the same checkpoint reads the
    same passages again: 4 bytes x dimension x passages on disk."""
