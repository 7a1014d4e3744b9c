"""Each loss against its formula, written out on tiny tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import cos_sim
from torch.nn.functional import cosine_similarity
from transformers import ModernBertConfig, ModernBertModel

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training import objectives
from tests.training_inputs import settings


class Module(torch.nn.Module):
    """A sentence encoder of one module."""

    similarity_fn_name = "cosine"

    def __getitem__(self, place: int) -> torch.nn.Module:
        return self


class Given(Module):
    """An encoder whose "features" are the embeddings themselves."""

    def __init__(self, similarity: str = "cosine") -> None:
        super().__init__()
        self.similarity_fn_name = similarity
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["embedding"] * self.weight}


class Encoder(Module):
    """A transformer with mean pooling."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        ids, mask = features["input_ids"], features["attention_mask"]
        tokens = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        summed = (tokens * mask[..., None]).sum(1)
        return {"sentence_embedding": summed / mask.sum(1, keepdim=True)}


class Texts(NamedTuple):
    """Embeddings, each of shape (3, 4)."""

    query: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    other_negative: torch.Tensor


@pytest.fixture
def texts() -> Texts:
    generator = torch.Generator().manual_seed(7)
    return Texts(*torch.randn(4, 3, 4, generator=generator))


def loss_for(
    encoder: Any, mini_batch: int | None = None, gather: bool = False, **finetuning: Any
) -> Any:
    return objectives.loss_for(encoder, settings(**finetuning), mini_batch, gather)


def value(loss: Any, *embeddings: torch.Tensor, labels: torch.Tensor | None = None) -> float:
    return float(loss([{"embedding": one} for one in embeddings], labels).item())


def test_contrastive_is_cross_entropy_over_the_batch_and_all_negatives(texts: Texts) -> None:
    query, *passages = texts
    total = torch.zeros(())
    for row in range(3):
        scores = cosine_similarity(query[row][None], torch.cat(passages)) / 0.1
        total += torch.logsumexp(scores, 0) - scores[row]
    loss = loss_for(Given(), temperature=0.1)
    assert value(loss, *texts) == pytest.approx((total / 3).item(), rel=1e-6)


def test_temperature_scales_the_similarities(texts: Texts) -> None:
    cold, warm = (loss_for(Given(), temperature=temperature) for temperature in (0.02, 1.0))
    assert value(cold, *texts) != pytest.approx(value(warm, *texts))


def test_triplet_is_the_hinge_over_similarities(texts: Texts) -> None:
    query, positive, negative, _ = texts
    difference = cosine_similarity(query, negative) - cosine_similarity(query, positive)
    loss = loss_for(Given(), objective="triplet", margin=0.3)
    hinge = (difference + 0.3).clamp(min=0).mean()
    assert value(loss, query, positive, negative) == pytest.approx(hinge.item(), rel=1e-6)


def test_cosine_similarity_is_the_squared_error_to_the_label(texts: Texts) -> None:
    labels = torch.tensor([1.0, 0.0, 1.0])
    error = ((cosine_similarity(texts.query, texts.positive) - labels) ** 2).mean()
    loss = loss_for(Given(), objective="cosine_similarity")
    actual = value(loss, texts.query, texts.positive, labels=labels)
    assert actual == pytest.approx(error.item(), rel=1e-6)


def test_margin_mse_is_the_squared_error_to_the_teachers_margin(texts: Texts) -> None:
    query, positive, negative, _ = texts
    margins = torch.tensor([0.75, -0.25, 0.0])
    difference = cosine_similarity(query, positive) - cosine_similarity(query, negative)
    loss = loss_for(Given(), objective="margin_mse")
    actual = value(loss, query, positive, negative, labels=margins)
    assert actual == pytest.approx(((difference - margins) ** 2).mean().item(), rel=1e-6)


def test_an_encoder_that_scores_by_dot_product_is_trained_by_it(texts: Texts) -> None:
    query, positive, negative, _ = texts
    encoder = Given("dot")
    of_positive, of_negative = (query * positive).sum(-1), (query * negative).sum(-1)
    scores = query @ torch.cat([positive, negative]).T / 0.1
    margins = torch.tensor([0.75, -0.25, 0.0])
    for objective, labels, expected in (
        ("contrastive", None, (torch.logsumexp(scores, 1) - scores.diagonal()).mean()),
        ("triplet", None, (of_negative - of_positive + 0.3).clamp(min=0).mean()),
        ("margin_mse", margins, ((of_positive - of_negative - margins) ** 2).mean()),
    ):
        loss = loss_for(encoder, objective=objective, temperature=0.1, margin=0.3)
        actual = value(loss, query, positive, negative, labels=labels)
        assert actual == pytest.approx(expected.item(), rel=1e-5), objective
    cached = loss_for(encoder, 8)
    assert cached.similarity_fct(query, positive) == pytest.approx(query @ positive.T)
    with pytest.raises(InputError, match="cosine_similarity cannot train an encoder that scores"):
        loss_for(encoder, objective="cosine_similarity")


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_cached_contrastive_has_the_loss_and_gradients_of_the_whole_batch(negatives: int) -> None:
    """With a real encoder in float64, in mini-batches that do not divide the batch."""
    generator = torch.Generator().manual_seed(3)
    config = ModernBertConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    torch.manual_seed(1)
    encoder = Encoder(ModernBertModel(config)).double().train()
    features = []
    for _ in range(2 + negatives):
        tokens = torch.randint(3, 40, (7, 6), generator=generator)
        lengths = torch.randint(2, 7, (7, 1), generator=generator)
        mask = (torch.arange(6) < lengths).long()
        features.append({"input_ids": tokens * mask, "attention_mask": mask})
    results = []
    for mini_batch in (None, 3):
        encoder.zero_grad()
        loss = loss_for(encoder, mini_batch, temperature=0.05)(
            [dict(one) for one in features], None
        )
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
        results.append((loss.item(), gradients))
    (plain, of_plain), (cached, of_cached) = results
    assert cached == pytest.approx(plain, abs=1e-6)
    assert of_plain.keys() == dict(encoder.named_parameters()).keys()
    for name, gradient in of_plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(of_cached[name], gradient, rtol=0, atol=1e-6)


LEFT_OUT = [(0, 1), (0, 5), (2, 0), (2, 4), (3, 11)]
"""Rows and passages of a batch of four rows with two negatives each: passage 5 is a negative of
row 1, and passage 11 the second negative of row 3 itself."""


def batch_of_four() -> list[torch.Tensor]:
    """Embeddings of queries, positives, and two negatives of each, of shape (4, 8)."""
    return list(torch.randn(4, 4, 8, generator=torch.Generator().manual_seed(5)).double())


def naive(query: torch.Tensor, *passages: torch.Tensor) -> torch.Tensor:
    """InfoNCE of each row, with a denominator from which the known positives are removed."""
    of_rows = []
    for row in range(len(query)):
        scores = cosine_similarity(query[row][None], torch.cat(passages)) / 0.1
        kept = [column for column in range(len(scores)) if (row, column) not in LEFT_OUT]
        of_rows.append(-torch.log(scores[row].exp() / scores[kept].exp().sum()))
    return torch.stack(of_rows)


@pytest.mark.parametrize("mini_batch", [None, 1, 3])
def test_a_known_positive_is_removed_from_the_denominator(mini_batch: int | None) -> None:
    embeddings = batch_of_four()
    loss = loss_for(Given().double(), mini_batch, temperature=0.1)
    left_out = torch.tensor(LEFT_OUT)
    expected = naive(*embeddings).mean().item()
    assert value(loss, *embeddings, labels=left_out) == pytest.approx(expected, rel=1e-12)
    # What is left out of one batch is back in the next.
    fresh = value(loss_for(Given().double(), temperature=0.1), *embeddings)
    assert value(loss, *embeddings) == pytest.approx(fresh) and fresh > expected + 0.01


@pytest.mark.parametrize("mini_batch", [None, 1])
@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_leave_out_known_positives_of_each_other(
    monkeypatch: pytest.MonkeyPatch, rank: int, mini_batch: int | None
) -> None:
    """Each rank has two of the four rows, and the passages of all."""
    embeddings = batch_of_four()
    gathered = iter(embeddings)
    for module in ("multiple_negatives_ranking", "cached_multiple_negatives_ranking"):
        theirs = f"sentence_transformers.sentence_transformer.losses.{module}"
        monkeypatch.setattr(f"{theirs}.all_gather_with_grad", lambda _: next(gathered))
        monkeypatch.setattr(f"{theirs}.get_rank", lambda: rank)
    ours = slice(2 * rank, 2 * rank + 2)
    left_out = torch.tensor([(row - 2 * rank, c) for row, c in LEFT_OUT if row in range(4)[ours]])
    loss = loss_for(Given().double(), mini_batch, gather=True, temperature=0.1)
    with torch.no_grad():
        actual = value(loss, *(one[ours] for one in embeddings), labels=left_out)
    assert actual == pytest.approx(naive(*embeddings)[ours].mean().item(), rel=1e-12)


@pytest.mark.parametrize("mini_batch", [None, 3])
def test_no_gradient_reaches_the_similarity_of_a_known_positive(mini_batch: int | None) -> None:
    loss = loss_for(Given().double(), mini_batch, temperature=0.1)
    similarity, seen = loss.similarity_fct.similarity, []

    def watched(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        seen.append(similarity(queries, passages))
        seen[-1].retain_grad()
        return seen[-1].clone()

    loss.similarity_fct.similarity = watched
    features = [{"embedding": one.requires_grad_()} for one in batch_of_four()]
    loss(features, torch.tensor(LEFT_OUT)).backward()
    gradient = torch.cat([scores.grad for scores in seen])
    assert gradient.shape == (4, 12)
    without = [(row, column) for row, column in (gradient == 0).nonzero().tolist()]
    assert without == LEFT_OUT


@pytest.mark.parametrize("mini_batch", [None, 3])
def test_a_batch_without_known_positives_has_the_very_loss_of_sentence_transformers(
    mini_batch: int | None,
) -> None:
    theirs: Callable[..., Any] = losses.MultipleNegativesRankingLoss
    options: dict[str, Any] = {"scale": 1 / 0.1, "similarity_fct": cos_sim}
    if mini_batch is not None:
        theirs = losses.CachedMultipleNegativesRankingLoss
        options["mini_batch_size"] = mini_batch
    embeddings = [one.float() for one in batch_of_four()]
    ours = loss_for(Given(), mini_batch, temperature=0.1)
    assert value(ours, *embeddings) == value(theirs(Given(), **options), *embeddings)


def test_mini_batch_and_gather_select_the_contrastive_loss() -> None:
    plain = loss_for(Given(), gather=True)
    cached = loss_for(Given(), 8, gather=True, temperature=0.1)
    assert type(plain).__name__ == "MultipleNegativesRankingLoss"
    assert type(cached).__name__ == "CachedMultipleNegativesRankingLoss"
    assert plain.gather_across_devices and cached.gather_across_devices
    assert not loss_for(Given()).gather_across_devices
    assert (cached.mini_batch_size, cached.scale) == (8, pytest.approx(10))


@pytest.mark.parametrize("objective", ["triplet", "cosine_similarity", "margin_mse"])
def test_only_the_contrastive_loss_has_a_cached_form(objective: str) -> None:
    with pytest.raises(ValueError, match="mini_batch is for the contrastive objective"):
        loss_for(Given(), 8, objective=objective)
