"""Each loss against its formula, written out on tiny tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ettin_retrieval.errors import InputError
from ettin_retrieval.objectives import Example, loss_for, training_rows
from ettin_retrieval.params import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]


class Given(torch.nn.Module):
    """Stands for the encoder: its "features" are the embeddings themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["embedding"] * self.weight}


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


def test_uneven_negatives_are_refused_in_one_line() -> None:
    rows = [Example("q", "p", ["n"]), Example("r", "p", ["n", "m"])]
    with pytest.raises(InputError, match="ask for at most 1"):
        training_rows(rows, "contrastive")
