"""Training rows in the schema of microsoft/ms_marco, and a teacher's scores of their passages."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from ettin_retrieval.sources.tiny.domains import DOMAINS, QUESTIONS
from ettin_retrieval.sources.tiny.draw import Draw
from ettin_retrieval.sources.tiny.facts import NOT_QUERIED, DomainName, Fact, Part, Slot, Wording
from ettin_retrieval.sources.tiny.passages import Passage, distractors, relevant_passage

SIZES: dict[Part, int] = {"train": 1600, "dev": 100}

PASSAGES_PER_ROW = 10

DISTRACTORS: tuple[Slot, ...] = ("aspect", "subject", "subject", "finding")
"""The slot that each of a row's distractors changes."""


class Row(NamedTuple):
    """A fact, the query about it, and ten passages."""

    fact: Fact
    query: str
    passages: list[Passage]


def training_rows(domain: DomainName = "web") -> dict[str, list[dict[str, Any]]]:
    """Training and development rows in the schema of microsoft/ms_marco.

    Parameters
    ----------
    domain
        `web` is what the pipeline trains on; `scientific` is for training across domains.

    Returns
    -------
    `train` and `dev`: rows with query, query_id, query_type, answers, wellFormedAnswers and
    passages.
    """
    return {
        part: [_as_ms_marco(number, row) for number, row in enumerate(_rows(domain, part))]
        for part in SIZES
    }


def teacher_scores(domain: DomainName = "web") -> dict[tuple[int, str], float]:
    """Scores of a perfect teacher for the passages of the training rows.

    Returns
    -------
    (query_id, passage text) to the share of the four slots in which query and passage have the
    same concept: 1 for a relevant passage, 0.75 for a distractor, down to 0.
    """
    return {
        (number, passage.text): row.fact.shared(passage.about) / len(row.fact)
        for number, row in enumerate(_rows(domain, "train"))
        for passage in row.passages
    }


@cache
def _rows(domain_name: DomainName, part: Part) -> list[Row]:
    """Make relevant passages and distractors for every row, then add passages of other rows."""
    domain, draw = DOMAINS[domain_name], Draw("rows", domain_name, part)
    facts = domain.facts(part, SIZES[part], draw)
    queries: list[str] = []
    own: list[list[Passage]] = []
    on_subject: dict[int, list[Passage]] = {}
    for fact in facts:
        wording = Wording.random(draw)
        queries.append(draw.one(QUESTIONS).format(**domain.words(fact, wording)))
        passages = [
            relevant_passage(domain, fact, wording, draw) for _ in range(1 + draw.chance(0.1))
        ]
        passages += distractors(domain, fact, wording, DISTRACTORS, NOT_QUERIED, draw)
        own.append(passages)
        for passage in passages:
            on_subject.setdefault(passage.about.subject, []).append(passage)
    rows = []
    for number, fact in enumerate(facts):
        # On the same subject, as a search engine would find them, as long as there are any.
        near = [passage for passage in on_subject[fact.subject] if passage not in own[number]]
        passages = own[number] + draw.several(near, PASSAGES_PER_ROW - len(own[number]))
        while len(passages) < PASSAGES_PER_ROW:
            further = draw.one(draw.one(own))
            if further not in passages:
                passages.append(further)
        rows.append(Row(fact, queries[number], draw.shuffled(passages)))
    return rows


def _as_ms_marco(number: int, row: Row) -> dict[str, Any]:
    selected = [passage.about == row.fact for passage in row.passages]
    answers = [p.answer for p, chosen in zip(row.passages, selected, strict=True) if chosen]
    return {
        "query": row.query,
        "query_id": number,
        "query_type": "numeric" if "what year" in row.query else "description",
        "answers": answers[:1],
        "wellFormedAnswers": [],
        "passages": {
            "is_selected": [int(chosen) for chosen in selected],
            "passage_text": [passage.text for passage in row.passages],
            "url": [f"https://example.org/{number}/{rank}" for rank in range(len(row.passages))],
        },
    }
