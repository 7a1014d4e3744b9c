"""Each loss against its formula, written out on tiny tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.examples import Example, training_rows
from ettin_retrieval.training.objectives import loss_for

ROOT = Path(__file__).resolve().parents[1]


class Module(torch.nn.Module):
    """A sentence encoder of one module, which losses ask for by its place."""

    similarity_fn_name = "cosine"

    def __getitem__(self, place: int) -> torch.nn.Module:
        return self


class Given(Module):
    """Stands for the encoder: its "features" are the embeddings themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["embedding"] * self.weight}


class Encoder(Module):
    """A transformer with mean pooling, as sentence-transformers calls it."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        mask = features["attention_mask"]
        tokens = self.transformer(
            input_ids=features["input_ids"], attention_mask=mask
        ).last_hidden_state
        summed = (tokens * mask[..., None]).sum(1)
        return {"sentence_embedding": summed / mask.sum(1, keepdim=True)}


def settings(**finetuning: object) -> Settings:
    content = load_settings(ROOT / "params.yaml").model_dump()
    content["finetuning"] |= finetuning
    return Settings.model_validate(content)


def columns(*embeddings: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"embedding": e} for e in embeddings]


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, positives and two columns of negatives, each of shape (3, 4)."""
    random = torch.Generator().manual_seed(7)
    q, p, n1, n2 = torch.randn(4, 3, 4, generator=random)
    return q, p, n1, n2


def test_contrastive_is_cross_entropy_over_the_batch_and_all_negatives(texts) -> None:
    q, p, n1, n2 = texts
    loss = loss_for(Given(), settings(temperature=0.1))(columns(q, p, n1, n2), None)
    total = torch.zeros(())
    for i in range(3):
        scores = torch.stack([cosine(q[i], passage) for passage in torch.cat([p, n1, n2])]) / 0.1
        total += torch.logsumexp(scores, 0) - scores[i]
    assert loss.item() == pytest.approx((total / 3).item(), rel=1e-6)


def test_temperature_scales_the_similarities(texts) -> None:
    cold = loss_for(Given(), settings(temperature=0.02))(columns(*texts), None)
    warm = loss_for(Given(), settings(temperature=1.0))(columns(*texts), None)
    assert cold.item() != pytest.approx(warm.item())


def test_triplet_is_the_hinge_over_cosine_distances(texts) -> None:
    q, p, n, _ = texts
    loss = loss_for(Given(), settings(objective="triplet", margin=0.3))(columns(q, p, n), None)
    hinge = (cosine(q, n) - cosine(q, p) + 0.3).clamp(min=0).mean()
    assert loss.item() == pytest.approx(hinge.item(), rel=1e-6)


def test_cosine_similarity_is_the_squared_error_to_the_label(texts) -> None:
    q, p, _, _ = texts
    labels = torch.tensor([1.0, 0.0, 1.0])
    loss = loss_for(Given(), settings(objective="cosine_similarity"))(columns(q, p), labels)
    error = ((cosine(q, p) - labels) ** 2).mean()
    assert loss.item() == pytest.approx(error.item(), rel=1e-6)


def test_margin_mse_is_the_squared_error_to_the_teachers_margin(texts) -> None:
    q, p, n, _ = texts
    margins = torch.tensor([0.75, -0.25, 0.0])
    loss = loss_for(Given(), settings(objective="margin_mse"))(columns(q, p, n), margins)
    error = ((cosine(q, p) - cosine(q, n) - margins) ** 2).mean()
    assert loss.item() == pytest.approx(error.item(), rel=1e-6)


def test_an_encoder_that_scores_by_dot_product_is_trained_by_it(texts) -> None:
    q, p, n, _ = texts
    encoder = Given()
    encoder.similarity_fn_name = "dot"
    positive, negative = (q * p).sum(-1), (q * n).sum(-1)
    scores = q @ torch.cat([p, n]).T / 0.1
    margins = torch.tensor([0.75, -0.25, 0.0])
    for objective, labels, expected in (
        ("contrastive", None, (torch.logsumexp(scores, 1) - scores.diagonal()).mean()),
        ("triplet", None, (negative - positive + 0.3).clamp(min=0).mean()),
        ("margin_mse", margins, ((positive - negative - margins) ** 2).mean()),
    ):
        loss = loss_for(encoder, settings(objective=objective, temperature=0.1, margin=0.3))
        value = loss(columns(q, p, n), labels)
        assert value.item() == pytest.approx(expected.item(), rel=1e-5), objective
    cached = loss_for(encoder, settings(), 8)
    assert cached.similarity_fct(q, p) == pytest.approx(q @ p.T)
    with pytest.raises(InputError, match="cosine_similarity cannot train an encoder that scores"):
        loss_for(encoder, settings(objective="cosine_similarity"))


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_cached_contrastive_has_the_loss_and_gradients_of_the_whole_batch(negatives: int) -> None:
    """With a real encoder in float64, in mini-batches that do not divide the batch."""
    random = torch.Generator().manual_seed(3)
    config = ModernBertConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    torch.manual_seed(1)
    encoder = Encoder(ModernBertModel(config)).double().train()
    features = []
    for _ in range(2 + negatives):
        tokens = torch.randint(3, 40, (7, 6), generator=random)
        lengths = torch.randint(2, 7, (7, 1), generator=random)
        mask = (torch.arange(6) < lengths).long()
        features.append({"input_ids": tokens * mask, "attention_mask": mask})
    results = []
    for mini_batch in (None, 3):
        encoder.zero_grad()
        loss = loss_for(encoder, settings(temperature=0.05), mini_batch)
        value = loss([dict(f) for f in features], None)
        value.backward()
        gradients = {name: p.grad.clone() for name, p in encoder.named_parameters()}
        results.append((value.item(), gradients))
    (plain, of_plain), (cached, of_cached) = results
    assert cached == pytest.approx(plain, abs=1e-6)
    for name, gradient in of_plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(of_cached[name], gradient, rtol=0, atol=1e-6)


def test_the_loss_is_cached_and_gathered_where_it_is_asked_for() -> None:
    plain = loss_for(Given(), settings(), None, gather=True)
    cached = loss_for(Given(), settings(temperature=0.1), 8, gather=True)
    assert type(plain).__name__ == "MultipleNegativesRankingLoss"
    assert type(cached).__name__ == "CachedMultipleNegativesRankingLoss"
    assert plain.gather_across_devices and cached.gather_across_devices
    assert not loss_for(Given(), settings()).gather_across_devices
    assert (cached.mini_batch_size, cached.scale) == (8, pytest.approx(10))


@pytest.mark.parametrize("objective", ["triplet", "cosine_similarity", "margin_mse"])
def test_only_the_contrastive_loss_has_a_cached_form(objective: str) -> None:
    with pytest.raises(ValueError, match="mini_batch is for the contrastive objective"):
        loss_for(Given(), settings(objective=objective), 8)


def test_a_row_of_distillation_is_a_negative_with_its_margin() -> None:
    examples = [
        Example("q", "p", ["n", "m"], scores=[1.0, 0.5, -0.25]),
        Example("r", "s", [], scores=[0.5]),
    ]
    rows, texts = training_rows(examples, "margin_mse")
    assert rows.columns == ["query", "positive", "negative"]
    assert [[texts[n] for n in row] for row in rows.texts] == [["q", "p", "n"], ["q", "p", "m"]]
    assert rows.labels is not None and rows.labels.tolist() == [0.5, 1.25]
    with pytest.raises(InputError, match="query 'q' lacks one"):
        training_rows([Example("q", "p", ["n"])], "margin_mse")


def test_equal_texts_have_one_number_and_rows_keep_their_own_query_id() -> None:
    examples = [Example("same", "p", ["n"], "q1"), Example("same", "n", ["p"], "q2")]
    rows, texts = training_rows(examples, "contrastive")
    assert rows.texts.tolist() == [[0, 1, 2], [0, 2, 1]] and texts == ["same", "p", "n"]
    assert rows.query_ids == ["q1", "q2"]


def test_uneven_negatives_are_refused_in_one_line() -> None:
    rows = [Example("q", "p", ["n"]), Example("r", "p", ["n", "m"])]
    with pytest.raises(InputError, match="ask for at most 1"):
        training_rows(rows, "contrastive")
