"""Contents of the miniatures: passages that name their subjects, and queries for two of them."""

from __future__ import annotations

import random
from typing import Any

SUBJECTS = (
    "apple", "bridge", "candle", "castle", "cloud", "copper", "desert", "diamond", "dragon",
    "engine", "falcon", "forest", "garden", "glacier", "guitar", "hammer", "harbor", "island",
    "jungle", "kettle", "lantern", "lemon", "magnet", "mirror", "mountain", "ocean", "orchard",
    "pepper", "piano", "planet", "rabbit", "river", "saddle", "temple", "tiger", "zebra",
)  # fmt: skip
FILLERS = (
    "the", "a", "of", "is", "was", "in", "and", "about", "what", "how", "why", "when", "where",
)  # fmt: skip
WORDS = (*FILLERS, *SUBJECTS)


def msmarco_rows(count: int, seed: int = 0, unanswered_every: int = 0) -> list[dict[str, Any]]:
    """MS MARCO rows with six passages, one of them selected.

    Every `unanswered_every`-th row selects none and has the answer "No Answer Present.", as some
    rows of v1.1 and many of v2.1 do.
    """
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        subjects = iter(generator.sample(SUBJECTS, 14))
        first, second = next(subjects), next(subjects)
        texts = [_passage(generator, *pair) for pair in zip(subjects, subjects, strict=True)]
        answered = not unanswered_every or (index + 1) % unanswered_every > 0
        selected = generator.randrange(6) if answered else None
        if selected is not None:
            texts[selected] = _passage(generator, first, second)
        rows.append(
            {
                "answers": [f"{first} and {second}" if answered else "No Answer Present."],
                "passages": {
                    "is_selected": [int(i == selected) for i in range(6)],
                    "passage_text": texts,
                    "url": [f"http://example.org/{seed}/{index}/{i}" for i in range(6)],
                },
                "query": f"what is the {first} of the {second}",
                "query_id": 1000 * seed + index,
                "query_type": generator.choice(["description", "entity", "numeric"]),
                "wellFormedAnswers": [],
            }
        )
    return rows


def triplet_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Triplets: the positive names both subjects of the query, the negative one."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        first, second, other = generator.sample(SUBJECTS, 3)
        row = {"query": f"what is the {first} of the {second}"}
        row["positive"] = _passage(generator, first, second)
        row["negative"] = _passage(generator, first, other)
        rows.append(row)
    return rows


def retrieval_rows(
    queries: int, distractors: int, seed: int = 0
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, dict[str, int]]]:
    """Corpus, queries and judgments of a task with one relevant passage for each query."""
    generator = random.Random(seed)
    corpus, texts = {}, {}
    for index in range(queries + distractors):
        first, second = generator.sample(SUBJECTS, 2)
        corpus[f"d{index}"] = {"title": first, "text": _passage(generator, first, second)}
        if index < queries:
            texts[f"q{index}"] = f"what is the {first} of the {second}"
    return corpus, texts, {f"q{index}": {f"d{index}": 1} for index in range(queries)}


def _passage(generator: random.Random, *subjects: str) -> str:
    words = [*subjects, *generator.choices(FILLERS, k=8)]
    generator.shuffle(words)
    return " ".join(words).capitalize() + "."
