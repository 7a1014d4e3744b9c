"""params.yaml as typed, strict settings: the one place that knows its keys.

>>> Finetuning.model_validate({"objective": "triplet"}).margin
0.3
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from ettin_retrieval.errors import InputError

ENCODER_PREFIX = "ettin_"
"""`model: 1b` selects `encoders.ettin_1b`: DVC's `-S` cannot parse keys that start with a digit."""

Track = Literal["embedded", "paper", "local"]
RecipeName = Literal["guide", "paper"]
TrainSource = Literal["synthetic", "msmarco", "triplets", "beir"]
BenchmarkSource = Literal["synthetic", "mteb", "beir"]
Tier = Literal["auto", "smoke", "guide", "eng-v2"]
Precision = Literal["fp32", "bf16", "fp16"]
Objective = Literal["contrastive", "triplet", "cosine_similarity", "margin_mse"]

TRAIN_OF_TRACK: dict[str, TrainSource] = {
    "embedded": "synthetic",
    "local": "beir",
}
"""What the paper track trains on is for the recipe to say."""
BENCHMARK_OF_TRACK: dict[str, BenchmarkSource] = {
    "embedded": "synthetic",
    "paper": "mteb",
    "local": "beir",
}
SOURCE_OF_TIER: dict[str, BenchmarkSource] = {
    "smoke": "synthetic",
    "guide": "mteb",
    "eng-v2": "mteb",
}

LARGEST = 2**31 - 1
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""As numpy's and torch's generators take it."""
Length = Annotated[int, Field(ge=3, le=LARGEST)]
"""In tokens: one of a text, between the two that frame it."""
Names = Annotated[list[str], Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, strict=False)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys and wrong types are errors, values are constants."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Shape(Section):
    """Size of an encoder that is made here, with random weights (ModernBERT architecture)."""

    layers: Positive
    hidden_size: Positive
    intermediate_size: Positive
    heads: Positive
    # Special tokens and the characters of the embedded collection take 87.
    vocabulary: Annotated[int, Field(ge=128, le=LARGEST)]

    @model_validator(mode="after")
    def _heads_divide_hidden_size(self) -> Shape:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}"
            )
        return self


class Tuning(Section):
    """What `finetuning` means by `auto` for one encoder in one recipe.

    Attributes
    ----------
    learning_rate
        At its peak. Of the recipe `paper`: what `ettin-retrieval sweep` picked, where a file of
        studies/sweeps says so; otherwise a starting value that nobody has tuned.
    batch_size
        Queries per training step.
    """

    learning_rate: Rate
    batch_size: Positive
    epochs: Positive


class Encoder(Section):
    """One entry of `encoders`: where the encoder comes from and how it is used and tuned.

    Every key is required: DVC tracks the selected entry's keys one by one.

    Attributes
    ----------
    source
        `embedded` (random weights of the given `shape`, tokenizer of the embedded collection),
        `local` (the directory `local.encoder`) or a hub id such as `jhu-clsp/ettin-encoder-1b`.
    revision
        Branch, tag or commit of a hub id (null for the others); the commit that it named is
        recorded with the checkpoint.
    track
        Which data it is trained and evaluated on unless `data` says otherwise: `embedded`
        (synthetic, offline), `paper` (MS MARCO and MTEB) or `local` (a BEIR directory).
    pooling, normalize, max_query_length, max_passage_length
        Lengths in tokens. `auto` keeps what a sentence-transformers directory says of itself,
        and stands for mean, true, 64 and 512 where there is no such word. A normalised encoder is
        trained, mined and evaluated by cosine, any other by dot product.
    guide, paper
        Learning rate, batch size and epochs in each recipe.
    """

    source: str
    revision: str | None
    track: Track
    pooling: Literal["auto", "mean", "cls", "max"]
    normalize: bool | Literal["auto"]
    max_query_length: Length | Literal["auto"]
    max_passage_length: Length | Literal["auto"]
    guide: Tuning
    paper: Tuning
    shape: Shape | None

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Encoder:
        if not HUB_ID.fullmatch(self.source):
            raise ValueError(
                f"source: {self.source!r} is no hub id such as jhu-clsp/ettin-encoder-1b; for a "
                "directory write source: local, and name it with -S local.encoder=DIR"
            )
        if self.revision is None and self.source not in {"embedded", "local"}:
            raise ValueError("revision of a hub id must be a branch, tag or commit, such as main")
        if (self.source == "embedded") != (self.shape is not None):
            raise ValueError("shape is given if, and only if, source is embedded")
        return self


class Local(Section):
    """The user's own inputs; DVC tracks them, so a changed file re-runs what depends on it.

    Attributes
    ----------
    encoder
        A sentence-transformers or transformers directory, read by `source: local`.
    train
        A BEIR directory, read by `data.train: beir`.
    benchmark
        A BEIR directory, or a directory of BEIR directories, read by `data.benchmark: beir`.
    """

    encoder: str
    train: str
    benchmark: str


class Data(Section):
    """Where training and benchmark data come from.

    Attributes
    ----------
    train, benchmark
        `auto` follows the track of the selected encoder, and on the paper track the recipe; a
        tier in `evaluation.tasks` names its own benchmark.
    max_corpus_size
        Cut each benchmark corpus to this many passages: all judged ones, the rest at random. For
        a first look; scores are kept apart from those on whole corpora. null cuts nothing.
    msmarco_config
        Configuration of microsoft/ms_marco: v1.1 (82 thousand queries) or v2.1 (809 thousand).
    rows_without_positive
        What to do with an MS MARCO row without a selected passage: `error`, `skip` (and count
        it in the manifest), or `auto`: skip in microsoft/ms_marco, whose published rows are
        known to include some, error anywhere else.
    max_train_queries
        Take this many training queries (the first ones of a seeded shuffle); null takes all.
    dev_queries
        How many queries the development set has; held out of the training queries where the
        source has no development split of its own (a tenth of them, if that is fewer). `auto`
        is the recipe's.
    dev_passages
        How many passages the development corpus has; all that are judged, the rest at random.
    remove_overlap
        Leave out training and development queries that the evaluation asks too, or that share a
        relevant passage with another collection's; `answers` leaves out those that share one with
        their own collection's test queries as well, false keeps them all. They are reported in any
        case.
    """

    train: Literal["auto"] | TrainSource = "auto"
    benchmark: Literal["auto"] | BenchmarkSource = "auto"
    msmarco_config: Literal["v1.1", "v2.1"] = "v1.1"
    rows_without_positive: Literal["auto", "error", "skip"] = "auto"
    max_train_queries: Positive | None = None
    dev_queries: Positive = 500
    dev_passages: Positive = 500
    max_corpus_size: Positive | None = None
    remove_overlap: bool | Literal["answers"] = True


class Finetuning(Section):
    """Training hyperparameters; the defaults are the guide's.

    Attributes
    ----------
    objective
        `contrastive` (in-batch and mined negatives), `triplet`, `cosine_similarity` or
        `margin_mse` (distillation, only where the training data carries a teacher's scores: the
        synthetic source, and a BEIR directory with teacher/train.tsv).
    temperature
        Similarities are divided by it before the softmax of the contrastive objective.
    margin
        Of the triplet objective, and of semi-hard negatives (in similarity).
    learning_rate, batch_size, epochs
        `auto` takes the selected encoder's own value; a value here wins over it.
    warmup_ratio
        Share of all steps over which the learning rate rises from zero. `auto`, here and for
        `weight_decay`, takes the recipe's value.
    gradient_accumulation
        Batches whose gradients a step of the optimizer adds up. The contrastive objective still
        contrasts within each batch only.
    mini_batch_size
        Rows that are embedded at a time. A number bounds the memory: the contrastive objective
        keeps its batch by the cached loss, others add up the gradients of the pieces. `auto`
        takes the whole batch, and halves it whenever memory runs out.
    gradient_checkpointing
        Compute activations again in the backward pass instead of keeping them: less memory, more
        time, the same gradients.
    evaluations_per_epoch
        Development evaluations; each may become the best checkpoint, and each is one to resume
        from.
    early_stopping
        Stop after this many development evaluations without a gain; null trains to the end.
    """

    objective: Objective = "contrastive"
    temperature: Rate = 0.05
    margin: Rate = 0.3
    learning_rate: Rate | Literal["auto"] = "auto"
    batch_size: Positive | Literal["auto"] = "auto"
    epochs: Positive | Literal["auto"] = "auto"
    warmup_ratio: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0, strict=False)] = 0.01
    precision: Precision = "fp32"
    gradient_accumulation: Positive = 1
    mini_batch_size: Positive | Literal["auto"] = "auto"
    gradient_checkpointing: bool = False
    evaluations_per_epoch: Positive = 2
    early_stopping: Positive | None = None


class Negatives(Section):
    """How negatives are chosen; `auto` in `sampling`, `source` and `per_query` is the recipe's.

    Attributes
    ----------
    sampling
        `random` (a seeded draw), `hard` (near the query by the base encoder) or `semi_hard` (near
        it, but below the positive by less than `finetuning.margin`).
    source
        Where candidates come from: `corpus`, `row` (the query's own unselected passages, those
        judged 0; what they leave short is drawn at random from the corpus), or `row_or_corpus`
        (`row`, and `corpus` for a collection without any passage judged 0, as most BEIR
        collections are). The margin_mse objective takes passages that the teacher has scored for
        the query, in any case.
    draw
        Of the candidates that may be negatives take the `nearest`, or a seeded draw (`sampled`);
        random negatives are always drawn.
    per_query
        Negatives per pair of a training query and a positive; 0 trains on in-batch negatives
        alone.
    top_k
        How many nearest candidates are looked at.
    skip_first
        How many of the nearest candidates are left out, as likely unjudged positives.
    relative_margin, absolute_margin
        Against unjudged positives: a candidate must score below (1 - relative_margin) x the
        positive's score, and below the positive's score - absolute_margin. 0 sets no bound, as in
        the guide.
    """

    sampling: Literal["random", "hard", "semi_hard"] = "hard"
    source: Literal["corpus", "row", "row_or_corpus"] = "corpus"
    draw: Literal["nearest", "sampled"] = "nearest"
    per_query: NotNegative = 7
    top_k: Positive = 100
    skip_first: NotNegative = 0
    relative_margin: Share = 0.0
    absolute_margin: Annotated[float, Field(ge=0, strict=False)] = 0.0

    @model_validator(mode="after")
    def _enough_candidates(self) -> Negatives:
        if self.sampling != "random" and self.top_k < self.skip_first + self.per_query:
            raise ValueError(
                f"top_k {self.top_k} is smaller than skip_first {self.skip_first} "
                f"+ per_query {self.per_query}"
            )
        return self

    @model_validator(mode="after")
    def _random_negatives_have_no_ranks_and_scores(self) -> Negatives:
        for name in ("skip_first", "relative_margin", "absolute_margin"):
            value = getattr(self, name)
            if self.sampling == "random" and value > 0:
                raise ValueError(
                    f"random negatives have no ranks and scores: {name} must be 0, not {value}"
                )
        return self


class Evaluation(Section):
    """How checkpoints are evaluated.

    Attributes
    ----------
    tasks
        `auto` (every task of the benchmark source; the guide's 15 for `mteb`), a list of names,
        or a tier: `smoke` (the embedded tasks), `guide` (its 15) or `eng-v2` (the ten retrieval
        tasks of MTEB(eng, v2), over which the paper averages).
    batch_size
        Texts of full length per forward pass; shorter texts share a pass in greater number, so
        that it has about `batch_size` times the length of tokens, padding included.
    precision
        Of the encoder's forward pass; scores are always computed in fp32.
    keep_embeddings
        Keep passage embeddings in data/embeddings, and reuse them wherever the same checkpoint
        reads the same passages again: 4 bytes x dimension x passages on disk.
    """

    tasks: Names | Tier = "auto"
    batch_size: Positive = 32
    precision: Precision = "fp32"
    keep_embeddings: bool = False


class RecipeData(Section):
    """A recipe's part of `data`."""

    dev_queries: Positive


class RecipeNegatives(Section):
    """A recipe's part of `negatives`."""

    source: Literal["corpus", "row", "row_or_corpus"]
    sampling: Literal["random", "hard", "semi_hard"]
    per_query: NotNegative


class RecipeFinetuning(Section):
    """A recipe's part of `finetuning`; a number in `mini_batch_size` is the cached loss."""

    mini_batch_size: Positive | Literal["auto"]
    warmup_ratio: Share
    weight_decay: Annotated[float, Field(ge=0, strict=False)]


class Recipe(Section):
    """What `auto` means in `data`, `negatives` and `finetuning`, whatever the encoder.

    A recipe holds only what the two differ in; learning rate, batch size and epochs depend on
    the encoder too, and are with it.

    Attributes
    ----------
    train
        What `data.train: auto` means on the paper track; the other tracks have one source each.
    """

    train: TrainSource
    data: RecipeData
    negatives: RecipeNegatives
    finetuning: RecipeFinetuning


class Recipes(Section):
    """The two recipes: the guide's fine-tuning, and that of the Ettin paper."""

    guide: Recipe
    paper: Recipe


RECIPE_SECTIONS: dict[str, type[Section]] = {
    "data": RecipeData,
    "negatives": RecipeNegatives,
    "finetuning": RecipeFinetuning,
}
"""The sections of params.yaml that have `auto` values for a recipe to fill in."""


class FewShot(Section):
    """Study few_shot: how many training queries, and which seeds draw and train on them."""

    examples: list[NotNegative]
    seeds: list[Seed]


class MultiStage(Section):
    """Study multi_stage: learning rate (a share of the first stage's) and epochs of the second."""

    rate: Rate
    epochs: Positive


class Grid(Section):
    """Study ablations: the values that each factor takes while the others stay as they are."""

    pooling: list[Literal["mean", "cls", "max"]]
    objective: list[Objective]
    sampling: list[Literal["hard", "random", "semi_hard"]]
    per_query: list[NotNegative]


class Ablations(Section):
    """Study ablations.

    Attributes
    ----------
    queries
        Train on this many queries; null takes all.
    rates
        Learning rate of an objective, as a multiple of the encoder's own; 1 where none is given.
    """

    queries: Positive | None
    rates: dict[Objective, Rate]
    grid: Grid


class Studies(Section):
    """What the studies below `studies/` read besides the pipeline's settings.

    Attributes
    ----------
    evaluations_per_epoch
        In place of `finetuning.evaluations_per_epoch`: they train many encoders.
    """

    evaluations_per_epoch: Positive
    few_shot: FewShot
    multi_stage: MultiStage
    ablations: Ablations


class Settings(Section):
    """All of params.yaml.

    Attributes
    ----------
    recipe
        Whose values `auto` stands for. They are put in before anything is validated: in a
        `Settings` no section says `auto` where the recipe has a value.
    strict
        Pin threads and instruction set, so that a CPU run gives the same bytes on any x86-64
        machine; false uses the whole machine.
    """

    model: str
    recipe: RecipeName
    checkpoint: Literal["base", "finetuned"]
    seed: Seed
    strict: bool
    local: Local
    recipes: Recipes
    data: Data
    encoders: dict[str, Encoder]
    finetuning: Finetuning
    negatives: Negatives
    evaluation: Evaluation
    studies: Studies

    def with_changes(self, changes: dict[str, Any]) -> Settings:
        """The settings with dotted keys set, validated as a whole again.

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

    @property
    def encoder(self) -> Encoder:
        """The selected encoder's entry."""
        return self.encoders[ENCODER_PREFIX + self.model]

    @property
    def tuning(self) -> Tuning:
        """The selected encoder's values in the selected recipe."""
        return self.encoder.guide if self.recipe == "guide" else self.encoder.paper

    @property
    def train_source(self) -> TrainSource:
        """`data.train` with `auto` resolved by the encoder's track and the recipe."""
        recipe = self.recipes.guide if self.recipe == "guide" else self.recipes.paper
        source = self.data.train
        return TRAIN_OF_TRACK.get(self.encoder.track, recipe.train) if source == "auto" else source

    @property
    def benchmark_source(self) -> BenchmarkSource:
        """`data.benchmark` with `auto` resolved by the tier, or else by the encoder's track."""
        source = self.data.benchmark
        if source != "auto":
            return source
        tasks = self.evaluation.tasks
        tier = SOURCE_OF_TIER.get(tasks) if isinstance(tasks, str) else None
        return tier or BENCHMARK_OF_TRACK[self.encoder.track]

    @property
    def learning_rate(self) -> float:
        """Peak learning rate of fine-tuning."""
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
    def _recipe_for_auto(cls, content: Any) -> Any:
        """Put the selected recipe's values in the place of `auto`."""
        if not isinstance(content, dict):
            return content
        recipes = content.get("recipes")
        recipe = recipes.get(content.get("recipe")) if isinstance(recipes, dict) else None
        if not isinstance(recipe, dict):
            return content  # the fields' own validation says what is wrong
        filled = dict(content)
        for name in RECIPE_SECTIONS:
            values, section = recipe.get(name), content.get(name)
            if isinstance(values, dict) and isinstance(section, dict):
                auto = {k: v for k, v in values.items() if section.get(k, "auto") == "auto"}
                filled[name] = {**section, **auto}
        return filled

    @model_validator(mode="after")
    def _combinations(self) -> Settings:
        names = [name.removeprefix(ENCODER_PREFIX) for name in self.encoders]
        if ENCODER_PREFIX + self.model not in self.encoders:
            raise ValueError(f"model: unknown model {self.model!r}; allowed: {', '.join(names)}")
        tasks = self.evaluation.tasks
        if isinstance(tasks, list) and len(set(tasks)) < len(tasks):
            twice = next(task for task in tasks if tasks.count(task) > 1)
            raise ValueError(f"evaluation.tasks: {twice} is there twice")
        self._tier_and_benchmark_agree()
        self._objective_has_what_it_needs()
        margin, bound = self.finetuning.margin, self.negatives.absolute_margin
        if self.negatives.sampling == "semi_hard" and bound >= margin:
            raise ValueError(
                f"negatives.absolute_margin: {bound} leaves no semi_hard negatives, which lie "
                f"below the positive by less than finetuning.margin {margin}"
            )
        mini_batch = self.finetuning.mini_batch_size
        if mini_batch != "auto" and self.batch_size % mini_batch:
            raise ValueError(
                f"finetuning.mini_batch_size: batch size {self.batch_size} is not a multiple of "
                f"{mini_batch}"
            )
        return self

    def _tier_and_benchmark_agree(self) -> None:
        tasks = self.evaluation.tasks
        needed = SOURCE_OF_TIER.get(tasks) if isinstance(tasks, str) else None
        if needed and self.data.benchmark not in ("auto", needed):
            raise ValueError(
                f"evaluation.tasks: {tasks} is of data.benchmark {needed}, not "
                f"{self.data.benchmark}; write auto for one of the two"
            )

    def _objective_has_what_it_needs(self) -> None:
        objective = self.finetuning.objective
        if objective != "contrastive" and self.negatives.per_query == 0:
            every_positive = ", or every pair would be a positive"
            raise ValueError(
                f"negatives.per_query: the {objective} objective needs 1 or more, not 0"
                + every_positive * (objective == "cosine_similarity")
            )
        if objective == "margin_mse" and self.train_source in {"msmarco", "triplets"}:
            raise ValueError(
                f"finetuning.objective: margin_mse needs training data with teacher scores, and "
                f"data.train {self.train_source} carries none; allowed here: contrastive, "
                "triplet, cosine_similarity"
            )


def load_settings(path: str | Path) -> Settings:
    """Read and validate a params.yaml.

    Raises
    ------
    InputError
        One line naming the key and the values that it may have.
    """
    path = Path(path)
    content = _yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of settings")
    _check_keys(content, f"{path}: ")
    encoders = content.get("encoders")
    for name in encoders if isinstance(encoders, dict) else {}:
        if not str(name).startswith(ENCODER_PREFIX):
            raise InputError(
                f"{path}: encoders.{name}: an encoder's key starts with {ENCODER_PREFIX!r}; "
                f"write encoders.{ENCODER_PREFIX}{name} and select it with model: {name}"
            )
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None


def _yaml(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8")
        # YAML 1.2, as DVC reads it: 2e-5 is a number and `yes` is text.
        return YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the root of the repository") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a directory; it must be a file of settings") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: not valid YAML: {error.problem}") from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise InputError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid settings: nested too deeply") from None


def _check_keys(content: dict[Any, Any], where: str) -> None:
    for key, value in content.items():
        if not isinstance(key, str):
            raise InputError(f"{where}{key}: a key must be a string; write '{key}' in quotes")
        if isinstance(value, dict):
            _check_keys(value, f"{where}{key}.")


def _one_line(error: ValidationError) -> str:
    """Say the first thing that is wrong: key, value, allowed values."""
    # Unknown keys first: a misspelt required key is reported twice, and the typo is the cause.
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    # Without a recipe no `auto` of its keys can be filled in, and each would be an error.
    details = [d for d in details if d["loc"] == ("recipe",)] or details
    first = details[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(part for part in location if not _is_union_label(part))
    more = f" (and {len(details) - 1} more)" if len({d["loc"][:2] for d in details}) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = sorted(_section(location[:-1]).model_fields)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{key}: unknown key; {hint}allowed: {', '.join(allowed)}{more}"
    if first["type"] == "missing":
        return f"{key}: missing; write a value for it{more}"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return f"{key}: {message}" if key else message
    depth = len(key.split("."))
    same_key = [d for d in details if d["loc"][:depth] == first["loc"][:depth]]
    wanted = " or ".join(dict.fromkeys(_expectation(d) for d in same_key))
    auto = wanted.endswith("auto")
    if not auto and len(location) > 1 and location[1] in _recipe_keys(location[0]):
        wanted += " or auto"
    return f"{key}: {first['input']!r} is not allowed; it must be {wanted}{more}"


def _recipe_keys(section: str) -> set[str]:
    """The keys of a section that a recipe has values for."""
    model = RECIPE_SECTIONS.get(section)
    return set() if model is None else set(model.model_fields)


def _expectation(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    bounds = {
        "greater_than": ("gt", "greater than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than_equal": ("le", "at most"),
    }
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in bounds:
        name, words = bounds[kind]
        bound = context[name]
        return f"{words} {bound if isinstance(bound, int) else f'{bound:g}'}"
    types = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    types |= {"string": "text", "list": "a list", "dict": "a mapping", "none_required": "null"}
    types |= {"finite_number": "a finite number", "too_short": "a list of at least one"}
    types |= {"model_type": "a mapping of settings", "model": "a mapping of settings"}
    return types.get(kind, types.get(kind.split("_")[0], str(detail["msg"]).lower()))


def _is_union_label(part: str) -> bool:
    """Pydantic names the branch of a union in the location, such as `constrained-int`."""
    return part.startswith(("literal[", "constrained-", "list[")) or part in {
        "int",
        "float",
        "bool",
        "str",
        "none",
        "function-after",
        "Shape",
    }


def _section(location: list[str]) -> type[BaseModel]:
    """The model that the keys of a location lead to."""
    model: type[BaseModel] = Settings
    for part in location:
        if model is Settings and part == "encoders":
            model = Encoder
        elif part in model.model_fields:
            annotation = model.model_fields[part].annotation
            options = [annotation, *get_args(annotation)]
            model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return model
