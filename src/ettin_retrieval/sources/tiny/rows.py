"""Training rows in the schema of microsoft/ms_marco, and a teacher's scores of their passages."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

from ettin_retrieval.sources.tiny.world import (
    DOMAINS,
    NOT_QUERIED,
    QUESTIONS,
    DomainName,
    Draw,
    Part,
    Passage,
    Query,
    Slot,
)

SIZES: dict[Part, int] = {"train": 1600, "dev": 100}

PASSAGES_PER_ROW = 10

DISTRACTORS: tuple[Slot, ...] = ("aspect", "subject", "subject", "finding")
"""The slot that each of a row's distractors changes."""


def training_rows(domain: DomainName = "web") -> dict[str, list[dict[str, Any]]]:
    """Training and development rows (`train`, `dev`) in the schema of microsoft/ms_marco.

    The pipeline trains on `web`; `scientific` is for training across domains.
    """
    return {
        part: [_as_ms_marco(number, row) for number, row in enumerate(_rows(domain, part))]
        for part in SIZES
    }


def teacher_scores(domain: DomainName = "web") -> dict[tuple[int, str], float]:
    """Scores of a perfect teacher for the passages of the training rows.

    (query_id, passage text) to the share of the four slots in which query and passage have the
    same concept: 1 for a relevant passage, 0.75 for a distractor, down to 0.
    """
    return {
        (number, passage.text): row.fact.shared(passage.about) / len(row.fact)
        for number, row in enumerate(_rows(domain, "train"))
        for passage in row.passages
    }


@cache
def _rows(domain_name: DomainName, part: Part) -> list[Query]:
    """Make passages and distractors for every query, then fill up with passages of others."""
    domain, draw = DOMAINS[domain_name], Draw("rows", domain_name, part)
    facts = domain.facts(part, SIZES[part], draw)
    rows = [domain.query(fact, QUESTIONS, DISTRACTORS, NOT_QUERIED, draw) for fact in facts]
    own = [row.passages for row in rows]
    on_subject: dict[int, list[Passage]] = {}
    for passage in itertools.chain.from_iterable(own):
        on_subject.setdefault(passage.about.subject, []).append(passage)
    return [
        row._replace(passages=_filled_up(row.passages, on_subject[row.fact.subject], own, draw))
        for row in rows
    ]


def _filled_up(
    own: list[Passage], on_subject: list[Passage], of_rows: list[list[Passage]], draw: Draw
) -> list[Passage]:
    """Ten passages in random order: a row's own and, as long as there are any, on its subject."""
    near = [passage for passage in on_subject if passage not in own]
    passages = own + draw.several(near, PASSAGES_PER_ROW - len(own))
    while len(passages) < PASSAGES_PER_ROW:
        further = draw.one(draw.one(of_rows))
        if further not in passages:
            passages.append(further)
    return draw.several(passages, len(passages))


def _as_ms_marco(number: int, row: Query) -> dict[str, Any]:
    selected = [passage.about == row.fact for passage in row.passages]
    answers = [p.answer for p, chosen in zip(row.passages, selected, strict=True) if chosen]
    return {
        "query": row.text,
        "query_id": number,
        "query_type": "numeric" if "what year" in row.text else "description",
        "answers": answers[:1],
        "wellFormedAnswers": [],
        "passages": {
            "is_selected": [int(chosen) for chosen in selected],
            "passage_text": [passage.text for passage in row.passages],
            "url": [f"https://example.org/{number}/{rank}" for rank in range(len(row.passages))],
        },
    }
