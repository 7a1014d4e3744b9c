"""What each stage takes, by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from ettin_retrieval.mining.development import BY_WORDS, SAMPLE
from ettin_retrieval.planning.flops import Encoder, modernbert_config
from ettin_retrieval.planning.sizes import Collection, Texts
from ettin_retrieval.planning.stages import HIT_BYTES, HITS, PARQUET_SHARE, Stage, stages_of
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import Shape

SHAPE = Shape(layers=2, hidden_size=32, intermediate_size=32, heads=2, vocabulary=128)
TRAIN = Collection("train", Texts(100, 90.0), Texts(10, 45.0))
TASKS = [Collection(name, Texts(n, 90.0), Texts(5, 45.0)) for name, n in (("a", 40), ("b", 90))]
HELDOUT = [TASKS[1], Collection("c", Texts(200_000, 90.0), Texts(5, 45.0))]


def settings(**changes: Any) -> Settings:
    return load_settings().with_changes(changes)


@cache
def small(recompute: bool = False) -> Encoder:
    """An encoder that is counted once for all tests."""
    return Encoder(modernbert_config(SHAPE), recompute)


def stages(given: Settings) -> dict[str, Stage]:
    encoder = small(given.finetuning.gradient_checkpointing)
    return {stage.name: stage for stage in stages_of(given, encoder, TRAIN, TASKS, HELDOUT)}


def test_encoding_by_hand() -> None:
    flops = small().flops
    found = stages(settings())
    # 90 characters are 20 tokens and two special ones, 45 are 10 and two.
    # Mining, and 500 development queries over passages that mining has encoded.
    assert found["negatives"].texts == 110 + 500
    assert found["negatives"].tokens == 100 * 22 + 510 * 12
    assert found["negatives"].encoding == pytest.approx(
        100 * flops(22) + 510 * flops(12) + 2 * 100 * 10 * 32
    )
    assert found["evaluate@base"].texts == 130 + 10
    assert found["evaluate@base"].encoding == pytest.approx(
        130 * flops(22) + 10 * flops(12) + 2 * (40 * 5 + 90 * 5) * 32
    )
    assert found["evaluate@finetuned"] == found["evaluate@base"]._replace(name="evaluate@finetuned")


def test_the_pool_of_the_development_set_does_not_grow_with_the_corpus() -> None:
    given = settings(**{"negatives.num_negatives": 0})

    def pool(passages: int) -> int:
        train = Collection("train", Texts(passages, 90.0), Texts(10, 45.0))
        return stages_of(given, small(), train, TASKS, HELDOUT)[4].texts - given.data.dev_queries

    assert pool(5_000) == 5_000
    assert pool(1_000_000) == pool(9_000_000) == given.data.dev_queries * BY_WORDS + SAMPLE


def test_texts_are_cut_at_their_length() -> None:
    entry = load_settings().encoders["ettin_tiny"]
    changed = entry.model_copy(update={"max_query_length": 8, "max_passage_length": "auto"})
    given = settings()
    given = given.model_copy(update={"encoders": given.encoders | {"ettin_tiny": changed}})
    long = Collection("long", Texts(1, 10_000.0), Texts(1, 10_000.0))
    encoder = small()
    negatives = stages_of(given, encoder, long, TASKS, HELDOUT)[4]
    assert negatives.tokens == 512 + (1 + 500) * 8


def test_training_by_hand() -> None:
    given = settings()
    found = stages(given)["finetuning"]
    pairs, encoder = 10 * given.epochs, small()
    assert given.negatives.num_negatives == 7
    assert found.texts == pairs * (1 + 8)
    assert found.tokens == pairs * (12 + 8 * 22)
    # Positives and negatives are one batch, padded to its longest text; queries another.
    queries = TRAIN.queries.padded(16, 32)
    passages = TRAIN.passages.padded(16 * 8, 64)
    assert (queries, passages) == (19, 51)
    assert found.training == pytest.approx(
        3 * pairs * (encoder.flops(queries) + 8 * encoder.flops(passages))
    )
    assert found.memory == 16 * encoder.parameters + sum(
        encoder.activations(texts, length, "fp32")
        for texts, length in ((16, queries), (16 * 8, passages))
    )
    evaluations = 1 + 2 * given.epochs
    products = 2 * 100 * given.data.dev_queries * 32
    assert found.encoding == pytest.approx(
        evaluations
        * (100 * encoder.flops(22) + given.data.dev_queries * encoder.flops(12) + products)
    )


def test_a_number_of_steps_decides_how_much_is_trained() -> None:
    given = settings(**{"finetuning.max_steps": 5, "finetuning.gradient_accumulation": 2})
    found, one = (stages(each)["finetuning"] for each in (given, settings()))
    pairs = 5 * 2 * given.batch_size
    assert found.texts == pairs * (1 + 8)
    assert found.training == pytest.approx(one.training * pairs / (10 * given.epochs))
    # Before training, and then as often as an epoch has evaluations.
    assert found.encoding / one.encoding == pytest.approx((1 + 2) / (1 + 2 * given.epochs))


def test_without_negatives_nothing_is_mined_and_training_is_shorter() -> None:
    all_of_them, none = stages(settings()), stages(settings(**{"negatives.num_negatives": 0}))
    assert none["negatives"].texts == 600, "those of the development set"
    assert stages(settings(**{"negatives.sampling": "random"}))["negatives"] == none["negatives"]
    assert none["finetuning"].training < all_of_them["finetuning"].training / 3


@pytest.mark.parametrize(
    ("objective", "queries", "passages"),
    [("contrastive", 1, 8), ("triplet", 7, 14), ("cosine_similarity", 8, 8), ("margin_mse", 7, 14)],
)
def test_texts_of_a_pair_are_those_of_its_training_rows(
    objective: str, queries: int, passages: int
) -> None:
    given = settings(**{"finetuning.objective": objective})
    found = stages(given)["finetuning"]
    assert found.texts == 10 * given.epochs * (queries + passages)
    assert found.tokens == 10 * given.epochs * (queries * 12 + passages * 22)


def test_pieces_of_a_contrastive_batch_take_less_memory_and_a_second_forward_pass() -> None:
    encoder = small()
    found = stages(settings(**{"finetuning.mini_batch_size": 4}))["finetuning"]
    queries, passages = TRAIN.queries.padded(4, 32), TRAIN.passages.padded(4, 64)
    # One column of one piece at a time.
    assert found.memory == 16 * encoder.parameters + encoder.activations(4, passages, "fp32")
    pairs = 10 * settings().epochs
    assert found.training == pytest.approx(
        4 * pairs * (encoder.flops(queries) + 8 * encoder.flops(passages))
    )
    accumulated = stages(
        settings(**{"finetuning.mini_batch_size": 4, "finetuning.objective": "triplet"})
    )["finetuning"]
    merged = TRAIN.passages.padded(8, 64)
    assert accumulated.training == pytest.approx(
        3 * pairs * 7 * (encoder.flops(queries) + 2 * encoder.flops(merged))
    )


def test_gradient_checkpointing_takes_less_memory_and_a_second_forward_pass() -> None:
    whole = stages(settings())["finetuning"]
    checkpointed = stages(settings(**{"finetuning.gradient_checkpointing": True}))["finetuning"]
    assert checkpointed.training == pytest.approx(whole.training * 4 / 3)
    assert checkpointed.memory < 0.8 * whole.memory


def test_disk_has_caches_downloads_and_checkpoints() -> None:
    encoder = small()
    found = stages(settings(model="1b"))
    characters = 130 * 90 + 10 * 45
    # The output and DVC's copy, datasets' Arrow files, and the hub's Parquet files.
    assert found["benchmark_data"].disk == pytest.approx((2 + 1 + PARQUET_SHARE) * characters)
    # What is scored is there; of the others the cache, and digests of at most 100,000 passages.
    others, digests = 200_000 * 90 + 5 * 45, 8 * (90 + 100_000)
    assert found["heldout"].disk == pytest.approx((1 + PARQUET_SHARE) * others + 2 * digests)
    assert found["heldout"].texts == 90 + 200_000 + 2 * 5
    train = 100 * 90 + 10 * 45
    assert found["training_data"].disk == pytest.approx(217_328_153 + 3 * train)
    weights = 4 * encoder.parameters
    assert found["base_encoder"].disk == 3 * weights
    # Output and cache, and three checkpoints with two moments per weight.
    assert found["finetuning"].disk == (2 + 3 * 3) * weights
    assert found["evaluate@base"].disk == 2 * 10 * HITS * HIT_BYTES
    kept = stages(settings(model="1b", **{"evaluation.cache_embeddings": True}))
    assert kept["evaluate@base"].disk - found["evaluate@base"].disk == 4 * 32 * 130
    assert kept["negatives"].disk == 4 * 32 * 100
    # Generated on this machine: nothing from a hub.
    tiny = stages(settings())
    assert tiny["benchmark_data"].disk == 2 * characters
    assert tiny["heldout"].disk == 2 * digests
    assert tiny["training_data"].disk == 2 * train
    assert tiny["base_encoder"].disk == 2 * weights


def test_memory_has_the_largest_corpus_twice_and_what_encoding_holds() -> None:
    encoder, found = small(), stages(settings())
    assert found["benchmark_data"].memory == 2 * 90 * 90
    assert found["heldout"].memory == 2 * 200_000 * 90
    weights = 4 * encoder.parameters
    assert found["negatives"].memory == weights + 2 * 4 * 32 * 100
    assert found["evaluate@base"].memory == weights + 4 * 32 * 90 + 5 * HITS * 12


def test_precisions_are_those_of_the_settings() -> None:
    found = stages(settings(**{"finetuning.precision": "bf16", "evaluation.precision": "fp16"}))
    assert [found[name].precision for name in ("negatives", "finetuning", "evaluate@base")] == [
        "fp32",
        "bf16",
        "fp16",
    ]
    assert found["finetuning"].memory < stages(settings())["finetuning"].memory
