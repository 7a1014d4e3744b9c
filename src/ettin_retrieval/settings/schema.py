"""Every setting with its type, meaning and default, and which combinations are refused.

>>> Finetuning.model_validate({"objective": "triplet"}).margin
0.3
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ENCODER_PREFIX = "ettin_"
"""`model: 1b` selects `ettin_1b` in encoders.yaml: `-S` cannot parse a key that starts with a
digit."""

Track = Literal["tiny", "paper", "local"]
RecipeName = Literal["guide", "paper"]
TrainSource = Literal["tiny", "msmarco", "triplets", "beir"]
BenchmarkSource = Literal["tiny", "mteb", "beir"]
Tier = Literal["auto", "tiny", "guide", "eng-v2"]
Precision = Literal["fp32", "bf16", "fp16"]
Objective = Literal["contrastive", "triplet", "cosine_similarity", "margin_mse"]
Sampling = Literal["random", "hard", "semi_hard"]
NegativeSource = Literal["corpus", "row", "row_or_corpus"]
Pooling = Literal["mean", "cls", "max"]

TRAIN_OF_TRACK: dict[str, TrainSource] = {"tiny": "tiny", "local": "beir"}
"""Training data of a track; on the track `paper` the recipe decides."""

BENCHMARK_OF_TRACK: dict[str, BenchmarkSource] = {"tiny": "tiny", "paper": "mteb", "local": "beir"}

BENCHMARK_OF_TIER: dict[str, BenchmarkSource] = {"tiny": "tiny", "guide": "mteb", "eng-v2": "mteb"}

LARGEST = 2**31 - 1
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""The range of numpy's and torch's generators."""
Length = Annotated[int, Field(ge=3, le=LARGEST)]
"""In tokens: at least one of a text, between the two special tokens."""
Names = Annotated[list[str], Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, strict=False)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]
NotNegativeFloat = Annotated[float, Field(ge=0, strict=False)]


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


class Tuning(Section):
    """Training hyperparameters of one encoder in one recipe: what `auto` means in `finetuning`.

    Attributes
    ----------
    learning_rate
        Peak rate. In recipe `paper` it comes from `ettin-retrieval sweep` where studies/sweeps
        has a record, and is an untuned starting value otherwise.
    batch_size
        Queries per training step.
    """

    learning_rate: Rate
    batch_size: Positive
    epochs: Positive


class Encoder(Section):
    """One entry of encoders.yaml, with the values of its family filled in.

    Attributes
    ----------
    source
        A hub id such as `jhu-clsp/ettin-encoder-1b`, `local` (the directory `local.encoder`) or
        `tiny` (random weights of the given `shape`).
    revision
        Branch, tag or commit of a hub id; null for the others. The commit it resolves to is
        recorded with the checkpoint.
    track
        Default training and benchmark data: `tiny` (generated, offline), `paper` (MS MARCO and
        MTEB) or `local` (BEIR directories).
    pooling, normalize, max_query_length, max_passage_length
        `auto` keeps what a sentence-transformers directory states, and otherwise means mean
        pooling, normalisation, 64 and 512 tokens. A normalised encoder is trained, mined and
        evaluated by cosine similarity, any other by dot product.
    guide, paper
        Hyperparameters in each recipe.
    """

    source: str
    revision: str | None
    track: Track
    pooling: Pooling | Literal["auto"]
    normalize: bool | Literal["auto"]
    max_query_length: Length | Literal["auto"]
    max_passage_length: Length | Literal["auto"]
    guide: Tuning
    paper: Tuning
    shape: Shape | None

    @model_validator(mode="after")
    def _source_is_complete(self) -> Encoder:
        if not HUB_ID.fullmatch(self.source):
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


class Local(Section):
    """Your own inputs. DVC tracks them, so a changed file re-runs what depends on it.

    Attributes
    ----------
    encoder
        A sentence-transformers or transformers directory, for `model: local`.
    train
        A BEIR directory, for `data.train: beir`.
    benchmark
        A BEIR directory or a directory of them, for `data.benchmark: beir`.
    """

    encoder: str
    train: str
    benchmark: str


class Data(Section):
    """Training and benchmark data.

    Attributes
    ----------
    train
        `auto` follows the encoder's track, and on the track `paper` the recipe.
    benchmark
        `auto` follows the tier in `evaluation.tasks`, and otherwise the encoder's track.
    msmarco_config
        Configuration of microsoft/ms_marco: v1.1 (82 thousand queries) or v2.1 (809 thousand).
    rows_without_positive
        MS MARCO rows without a selected passage: `error`, `skip` (counted in the manifest) or
        `auto`, which skips them in microsoft/ms_marco, where they are known, and fails elsewhere.
    max_train_queries
        Number of training queries, a seeded sample; null takes all.
    dev_queries
        Size of the development set. Held out of the training queries (at most a tenth of them)
        if the source has no development split. `auto` is the recipe's value.
    dev_passages
        Size of the development corpus: all judged passages, the rest a seeded sample.
    max_corpus_size
        Cut every benchmark corpus to this many passages: all judged ones, the rest a seeded
        sample. For a first look; such tasks have names of their own. null cuts nothing.
    decontaminate
        Leave out training queries that the benchmark asks too, or that share a relevant passage
        with another collection. `answers` also leaves out those that share one with the test
        queries of their own collection; false keeps all. Overlaps are reported in any case.
    """

    train: Literal["auto"] | TrainSource = "auto"
    benchmark: Literal["auto"] | BenchmarkSource = "auto"
    msmarco_config: Literal["v1.1", "v2.1"] = "v1.1"
    rows_without_positive: Literal["auto", "error", "skip"] = "auto"
    max_train_queries: Positive | None = None
    dev_queries: Positive = 500
    dev_passages: Positive = 500
    max_corpus_size: Positive | None = None
    decontaminate: bool | Literal["answers"] = True


class Negatives(Section):
    """Choice of negatives, in the words of sentence-transformers' `mine_hard_negatives`.

    Attributes
    ----------
    sampling
        `random` (a seeded sample), `hard` (near the query by the base encoder) or `semi_hard`
        (near the query, but below the positive by less than `finetuning.margin`).
    source
        Candidates: `corpus`, `row` (the query's own passages judged 0; a shortfall is filled at
        random from the corpus) or `row_or_corpus` (`row`, or `corpus` if nothing is judged 0, as
        in most BEIR collections). margin_mse always takes passages that the teacher has scored.
    sampling_strategy
        Of the eligible candidates take the `top` ones or a seeded `random` sample.
    num_negatives
        Negatives per pair of a query and a positive; 0 trains on in-batch negatives alone.
    range_min, range_max
        Ranks of the candidates: skip the nearest `range_min`, which are likely unjudged
        positives, and look no further than `range_max`.
    relative_margin, absolute_margin
        A candidate must score below (1 - relative_margin) x the positive's score and below the
        positive's score - absolute_margin. 0 sets no bound.
    """

    sampling: Sampling = "hard"
    source: NegativeSource = "corpus"
    sampling_strategy: Literal["top", "random"] = "top"
    num_negatives: NotNegative = 7
    range_min: NotNegative = 0
    range_max: Positive = 100
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
            value = getattr(self, name)
            if value > 0:
                raise ValueError(
                    f"{name}: must be 0, not {value}: random negatives have no ranks and scores"
                )
        return self


class Finetuning(Section):
    """Training hyperparameters.

    Attributes
    ----------
    objective
        `contrastive` (in-batch and mined negatives), `triplet`, `cosine_similarity` or
        `margin_mse` (distillation; needs a teacher's scores, which the tiny world and BEIR
        directories with teacher/train.tsv have).
    temperature
        Divides the similarities before the softmax of the contrastive objective.
    margin
        Of the triplet objective and of semi-hard negatives, in similarity.
    learning_rate, batch_size, epochs
        `auto` is the encoder's value in the recipe.
    warmup_ratio
        Share of the steps over which the learning rate rises from zero. `auto`, here and for
        `weight_decay`, is the recipe's value.
    gradient_accumulation
        Batches per optimizer step. The contrastive objective contrasts within a batch only.
    mini_batch_size
        Rows encoded at a time. A number limits memory: the contrastive objective uses the cached
        loss, the others accumulate gradients. `auto` takes the whole batch and halves it when
        memory runs out.
    gradient_checkpointing
        Recompute activations in the backward pass: less memory, more time, the same gradients.
    evaluations_per_epoch
        Evaluations on the development set; each saves a checkpoint, and the best one is kept.
    early_stopping
        Stop after this many evaluations without an improvement; null never stops early.
    """

    objective: Objective = "contrastive"
    temperature: Rate = 0.05
    margin: Rate = 0.3
    learning_rate: Rate | Literal["auto"] = "auto"
    batch_size: Positive | Literal["auto"] = "auto"
    epochs: Positive | Literal["auto"] = "auto"
    warmup_ratio: Share = 0.1
    weight_decay: NotNegativeFloat = 0.01
    precision: Precision = "fp32"
    gradient_accumulation: Positive = 1
    mini_batch_size: Positive | Literal["auto"] = "auto"
    gradient_checkpointing: bool = False
    evaluations_per_epoch: Positive = 2
    early_stopping: Positive | None = None


class Encoding(Section):
    """How texts are encoded, wherever they are.

    Attributes
    ----------
    batch_size
        Texts of full length per forward pass on a GPU. Shorter texts share a pass in greater
        number: it is a budget of `batch_size` times the maximum length in tokens. A CPU always
        takes the budget that suits its caches, so this changes no byte there.
    """

    batch_size: Positive = 32


class Evaluation(Section):
    """How checkpoints are evaluated.

    Attributes
    ----------
    tasks
        `auto` (all tasks of the benchmark; for mteb the guide's 15), a list of names, or a tier:
        `tiny`, `guide` (its 15 tasks) or `eng-v2` (the ten of MTEB(eng, v2), over which the paper
        averages).
    precision
        Of the encoder's forward pass; similarities are always computed in fp32.
    cache_embeddings
        Keep passage embeddings in data/embeddings and reuse them when the same checkpoint reads
        the same passages again: 4 bytes x dimension x passages on disk.
    """

    tasks: Names | Tier = "auto"
    precision: Precision = "fp32"
    cache_embeddings: bool = False


class RecipeData(Section):
    """A recipe's part of `data`."""

    dev_queries: Positive


class RecipeNegatives(Section):
    """A recipe's part of `negatives`."""

    source: NegativeSource
    sampling: Sampling
    num_negatives: NotNegative


class RecipeFinetuning(Section):
    """A recipe's part of `finetuning`; a number in `mini_batch_size` selects the cached loss."""

    mini_batch_size: Positive | Literal["auto"]
    warmup_ratio: Share
    weight_decay: NotNegativeFloat


class Recipe(Section):
    """One entry of recipes.yaml: what `auto` means, whatever the encoder.

    Attributes
    ----------
    train
        `data.train: auto` on the track `paper`; the other tracks have one source each.
    """

    train: TrainSource
    data: RecipeData
    negatives: RecipeNegatives
    finetuning: RecipeFinetuning


class Recipes(Section):
    """The guide's recipe, and that of the Ettin paper."""

    guide: Recipe
    paper: Recipe


RECIPE_SECTIONS: dict[str, type[Section]] = {
    "data": RecipeData,
    "negatives": RecipeNegatives,
    "finetuning": RecipeFinetuning,
}
"""Sections of params.yaml in which `auto` stands for a value of the recipe."""


class Settings(Section):
    """All settings.

    Attributes
    ----------
    model
        Selects the entry `ettin_MODEL` of encoders.yaml.
    recipe
        Selects the entry of recipes.yaml. Its values replace `auto` before validation.
    checkpoint
        Whose scores metrics/mteb.json shows; both checkpoints are always evaluated.
    strict
        Pin threads and instruction set: the same bytes on any x86-64 CPU. false uses the whole
        machine.
    """

    model: str
    recipe: RecipeName
    checkpoint: Literal["base", "finetuned"]
    seed: Seed
    strict: bool
    local: Local
    data: Data
    negatives: Negatives
    finetuning: Finetuning
    encoding: Encoding
    evaluation: Evaluation
    recipes: Recipes
    encoders: dict[str, Encoder]

    def with_changes(self, changes: dict[str, Any]) -> Settings:
        """The settings with dotted keys changed, validated again as a whole.

        Raises
        ------
        ValidationError
            The changes do not fit together.
        """
        content = self.model_dump()
        for key, value in changes.items():
            *parents, last = key.split(".")
            section = content
            for parent in parents:
                section = section[parent]
            section[last] = value
        return Settings.model_validate(content)

    def resolved(self) -> dict[str, Any]:
        """Plain values without any `auto`, and only the selected encoder: what a run records."""
        content = self.model_dump(exclude={"encoders", "recipes"})
        content["encoder"] = self.encoder.model_dump(exclude={"guide", "paper"})
        content["data"] |= {"train": self.train_source, "benchmark": self.benchmark_source}
        content["finetuning"] |= {
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
        }
        return content

    @property
    def encoder(self) -> Encoder:
        """The selected entry of encoders.yaml."""
        return self.encoders[ENCODER_PREFIX + self.model]

    @property
    def tuning(self) -> Tuning:
        """Hyperparameters of the selected encoder in the selected recipe."""
        return self.encoder.guide if self.recipe == "guide" else self.encoder.paper

    @property
    def train_source(self) -> TrainSource:
        """`data.train` with `auto` resolved."""
        if self.data.train != "auto":
            return self.data.train
        recipe = self.recipes.guide if self.recipe == "guide" else self.recipes.paper
        return TRAIN_OF_TRACK.get(self.encoder.track, recipe.train)

    @property
    def benchmark_source(self) -> BenchmarkSource:
        """`data.benchmark` with `auto` resolved."""
        if self.data.benchmark != "auto":
            return self.data.benchmark
        return self._benchmark_of_tier or BENCHMARK_OF_TRACK[self.encoder.track]

    @property
    def _benchmark_of_tier(self) -> BenchmarkSource | None:
        tasks = self.evaluation.tasks
        return BENCHMARK_OF_TIER.get(tasks) if isinstance(tasks, str) else None

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        rate = self.finetuning.learning_rate
        return self.tuning.learning_rate if rate == "auto" else rate

    @property
    def batch_size(self) -> int:
        """Queries per training step."""
        size = self.finetuning.batch_size
        return self.tuning.batch_size if size == "auto" else size

    @property
    def epochs(self) -> int:
        """Passes over the training queries."""
        epochs = self.finetuning.epochs
        return self.tuning.epochs if epochs == "auto" else epochs

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_recipe(cls, content: Any) -> Any:
        """Replace `auto` by the selected recipe's values; the fields report malformed sections."""
        if not isinstance(content, dict):
            return content
        recipes = content.get("recipes")
        recipe = recipes.get(content.get("recipe")) if isinstance(recipes, dict) else None
        if not isinstance(recipe, dict):
            return content
        filled = dict(content)
        for name in RECIPE_SECTIONS:
            values, section = recipe.get(name), content.get(name)
            if isinstance(values, dict) and isinstance(section, dict):
                auto = {k: v for k, v in values.items() if section.get(k, "auto") == "auto"}
                filled[name] = {**section, **auto}
        return filled

    @model_validator(mode="after")
    def _combinations(self) -> Settings:
        if ENCODER_PREFIX + self.model not in self.encoders:
            names = ", ".join(name.removeprefix(ENCODER_PREFIX) for name in self.encoders)
            raise ValueError(f"model: unknown model {self.model!r}; allowed: {names}")
        self._check_tasks()
        self._check_objective()
        margin, bound = self.finetuning.margin, self.negatives.absolute_margin
        if self.negatives.sampling == "semi_hard" and bound >= margin:
            raise ValueError(
                f"negatives.absolute_margin: {bound} leaves no semi_hard negatives, which score "
                f"below the positive by less than finetuning.margin {margin}"
            )
        mini_batch = self.finetuning.mini_batch_size
        if mini_batch != "auto" and self.batch_size % mini_batch:
            raise ValueError(
                f"finetuning.mini_batch_size: batch size {self.batch_size} is not a multiple of "
                f"{mini_batch}"
            )
        return self

    def _check_tasks(self) -> None:
        tasks, needed = self.evaluation.tasks, self._benchmark_of_tier
        if isinstance(tasks, list) and len(set(tasks)) < len(tasks):
            repeated = next(task for task in tasks if tasks.count(task) > 1)
            raise ValueError(f"evaluation.tasks: {repeated} is listed twice")
        if needed and self.data.benchmark not in ("auto", needed):
            raise ValueError(
                f"evaluation.tasks: {tasks} belongs to data.benchmark {needed}, not "
                f"{self.data.benchmark}; write auto for one of the two"
            )

    def _check_objective(self) -> None:
        objective = self.finetuning.objective
        if objective != "contrastive" and self.negatives.num_negatives == 0:
            raise ValueError(
                f"negatives.num_negatives: the {objective} objective needs 1 or more, not 0"
            )
        if objective == "margin_mse" and self.train_source in {"msmarco", "triplets"}:
            raise ValueError(
                "finetuning.objective: margin_mse needs training data with teacher scores, and "
                f"data.train {self.train_source} has none; allowed here: contrastive, triplet, "
                "cosine_similarity"
            )
