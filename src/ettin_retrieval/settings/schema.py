"""All settings: what `auto` resolves to, and which combinations are refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ettin_retrieval.settings import sections
from ettin_retrieval.settings.sections import BenchmarkSource, Section, TrainSource, Tuning

ENCODER_PREFIX = "ettin_"
"""`model: 1b` selects `ettin_1b` in encoders.yaml: `-S` cannot parse a key that starts with a
digit."""

TRAIN_OF_TRACK: dict[str, TrainSource] = {"tiny": "tiny", "local": "beir"}
"""Training data of a track; on the track `paper` the recipe decides."""

BENCHMARK_OF_TRACK: dict[str, BenchmarkSource] = {"tiny": "tiny", "paper": "mteb", "local": "beir"}

BENCHMARK_OF_TIER: dict[str, BenchmarkSource] = {
    "tiny": "tiny", "guide": "mteb", "eng-v2": "mteb", "paper": "mteb",
}  # fmt: skip

LENGTHS = ("max_query_length", "max_passage_length")
"""Of an encoder, where evaluation cuts texts; of `finetuning`, where training does."""


class RecipeData(Section):
    """A recipe's part of `data`."""

    dev_queries: sections.Positive


class RecipeNegatives(Section):
    """A recipe's part of `negatives`."""

    source: sections.NegativeSource
    sampling: sections.Sampling
    num_negatives: sections.NotNegative


class RecipeFinetuning(Section):
    """A recipe's part of `finetuning`."""

    temperature: sections.Rate
    mini_batch_size: sections.Positive | sections.Auto
    warmup_ratio: sections.Share
    weight_decay: sections.NotNegativeFloat
    precision: Literal["fp32", "bf16"]
    keep: sections.Keep
    max_query_length: sections.Length | None
    max_passage_length: sections.Length | None


class Recipe(Section):
    """One entry of recipes.yaml: what `auto` means, whatever the encoder."""

    train: TrainSource
    """`data.train: auto` on the track `paper`; the other tracks have one source each."""
    data: RecipeData
    negatives: RecipeNegatives
    finetuning: RecipeFinetuning


class Recipes(Section):
    """The guide's recipe, and that of the Ettin paper."""

    guide: Recipe
    paper: Recipe


class Settings(Section):
    """All settings."""

    model: str
    """Selects the entry `ettin_MODEL` of encoders.yaml."""
    recipe: sections.RecipeName
    """Selects the entry of recipes.yaml. Its values replace `auto` before validation."""
    checkpoint: Literal["base", "finetuned"]
    """Whose scores metrics/mteb.json shows; both checkpoints are always evaluated."""
    seed: sections.Seed
    strict: bool
    """Pin threads and instruction set: the same bytes on any x86-64 CPU. false uses the whole
    machine."""
    local: sections.Local
    data: sections.Data
    negatives: sections.Negatives
    finetuning: sections.Finetuning
    encoding: sections.Encoding
    evaluation: sections.Evaluation
    recipes: Recipes
    encoders: dict[str, sections.Encoder]

    def with_changes(self, changes: dict[str, Any]) -> Settings:
        """The settings with dotted keys changed, validated again as a whole.

        Raises ValidationError if the changes do not fit together.
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
        encoder = self.encoder
        content["encoder"] = {
            "source": encoder.source, "revision": encoder.revision, "track": encoder.track,
            **encoder.model_dump(exclude={"guide", "paper"}),
        }  # fmt: skip
        content["data"] |= {"train": self.train_source, "benchmark": self.benchmark_source}
        content["finetuning"] |= self.tuning.model_dump() | self.training_lengths
        content["finetuning"]["precision"] = self.training_precision
        return content

    @property
    def encoder(self) -> sections.Encoder:
        """The selected entry of encoders.yaml."""
        return self.encoders[ENCODER_PREFIX + self.model]

    @property
    def tuning(self) -> Tuning:
        """`learning_rate`, `batch_size` and `epochs`: where `auto`, the encoder's in the recipe."""
        given = self.finetuning.model_dump(include=set(Tuning.model_fields))
        own: Tuning = getattr(self.encoder, self.recipe)
        return own.model_copy(update={key: v for key, v in given.items() if v != "auto"})

    @property
    def learning_rate(self) -> float:
        return self.tuning.learning_rate

    @property
    def batch_size(self) -> int:
        return self.tuning.batch_size

    @property
    def epochs(self) -> int:
        return self.tuning.epochs

    @property
    def training_lengths(self) -> dict[str, int | None]:
        """`finetuning.max_query_length` and `max_passage_length` with `auto` resolved.

        None is the encoder's own length, where evaluation cuts.
        """
        recipe: Recipe = getattr(self.recipes, self.recipe)
        lengths = {}
        for key in LENGTHS:
            given = getattr(self.finetuning, key)
            of_recipe, of_encoder = getattr(recipe.finetuning, key), getattr(self.encoder, key)
            lengths[key] = _shorter(of_recipe, of_encoder) if given == "auto" else given
        return lengths

    @property
    def training_precision(self) -> sections.Precision:
        """`finetuning.precision` with `auto` resolved, whatever the hardware."""
        given = self.finetuning.precision
        recipe: Recipe = getattr(self.recipes, self.recipe)
        return recipe.finetuning.precision if given == "auto" else given

    @property
    def train_source(self) -> TrainSource:
        """`data.train` with `auto` resolved."""
        if self.data.train != "auto":
            return self.data.train
        recipe: Recipe = getattr(self.recipes, self.recipe)
        return TRAIN_OF_TRACK.get(self.encoder.track, recipe.train)

    @property
    def benchmark_source(self) -> BenchmarkSource:
        """`data.benchmark` with `auto` resolved."""
        if self.data.benchmark != "auto":
            return self.data.benchmark
        return self._benchmark_of_tier or BENCHMARK_OF_TRACK[self.encoder.track]

    @property
    def heldout_source(self) -> BenchmarkSource:
        """Where the tasks of `data.heldout` are from, whatever `evaluation.tasks` says."""
        given, benchmark = self.data.heldout, self.data.benchmark
        if isinstance(given, str) and given in BENCHMARK_OF_TIER:
            return BENCHMARK_OF_TIER[given]
        return BENCHMARK_OF_TRACK[self.encoder.track] if benchmark == "auto" else benchmark

    @property
    def _benchmark_of_tier(self) -> BenchmarkSource | None:
        tasks = self.evaluation.tasks
        return BENCHMARK_OF_TIER.get(tasks) if isinstance(tasks, str) else None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_recipe(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Replace `auto`, or a missing key, by the selected recipe's value.

        What depends on the encoder or the hardware too stays `auto` here, and is a property.
        """
        filled = dict(content)
        for name, values in content["recipes"].get(str(content.get("recipe")), {}).items():
            section = content.get(name)
            if isinstance(section, dict):
                auto = {
                    key: value
                    for key, value in values.items()
                    if key not in {*LENGTHS, "precision"} and section.get(key, "auto") == "auto"
                }
                filled[name] = section | auto
        return filled

    @model_validator(mode="after")
    def _combinations(self) -> Settings:
        if ENCODER_PREFIX + self.model not in self.encoders:
            names = ", ".join(name.removeprefix(ENCODER_PREFIX) for name in self.encoders)
            raise ValueError(f"model: unknown model {self.model!r}; allowed: {names}")
        self._check_tasks()
        self._check_objective()
        self._check_that_it_can_learn()
        margin, bound = self.finetuning.margin, self.negatives.absolute_margin
        if self.negatives.sampling == "semi_hard" and bound >= margin:
            raise ValueError(
                f"negatives.absolute_margin: {bound} leaves no semi_hard negatives, which score "
                f"below the positive by less than finetuning.margin {margin}"
            )
        if self.finetuning.keep == "last" and self.finetuning.early_stopping is not None:
            raise ValueError(
                "finetuning.early_stopping: stops when the development score no longer rises, and "
                "keep last would keep the weights after the best; set finetuning.keep to best"
            )
        mini_batch = self.finetuning.mini_batch_size
        if mini_batch != "auto" and mini_batch < self.batch_size and self.batch_size % mini_batch:
            raise ValueError(
                f"finetuning.mini_batch_size: batch size {self.batch_size} is not a multiple of "
                f"{mini_batch}"
            )
        return self

    def _check_tasks(self) -> None:
        tasks, needed = self.evaluation.tasks, self._benchmark_of_tier
        for key, names in (("evaluation.tasks", tasks), ("data.heldout", self.data.heldout)):
            if isinstance(names, list) and len(set(names)) < len(names):
                repeated = next(task for task in names if names.count(task) > 1)
                raise ValueError(f"{key}: {repeated} is listed twice")
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

    def _check_that_it_can_learn(self) -> None:
        """Refuse settings with which no gradient reaches the weights, or each step erases them."""
        tuning, queries = self.tuning, self.data.max_train_queries
        if self.finetuning.objective == "contrastive" and self.negatives.num_negatives == 0:
            why = "without negatives the loss is always 0: a row has nothing to be compared with"
            if tuning.batch_size == 1:
                raise ValueError(f"finetuning.batch_size: must be 2 or more, not 1: {why}")
            if queries == 1:
                raise ValueError(f"data.max_train_queries: must be 2 or more, not 1: {why}")
        if tuning.learning_rate * self.finetuning.weight_decay >= 1:
            raise ValueError(
                f"finetuning.weight_decay: {self.finetuning.weight_decay:g} must be below 1 / "
                f"learning_rate {tuning.learning_rate:g}: each step multiplies the weights by 1 - "
                "learning_rate x weight_decay"
            )


def _shorter(*lengths: Any) -> int | None:
    """The smaller of the lengths that are given; the others are null or `auto`.

    >>> _shorter(64, 32), _shorter(64, "auto"), _shorter(None, 32), _shorter(None, "auto")
    (32, 64, 32, None)
    """
    return min((length for length in lengths if isinstance(length, int)), default=None)
