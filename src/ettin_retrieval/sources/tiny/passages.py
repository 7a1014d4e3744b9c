"""Relevant passages and distractors of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ettin_retrieval.sources.tiny.draw import Draw
from ettin_retrieval.sources.tiny.facts import FORMS, Domain, Fact, Slot, Wording

NUMBERS = tuple(range(2, 98))

YEARS = tuple(range(1990, 2020))


@dataclass(frozen=True)
class Passage:
    """A passage and the fact that it states, from which all judgments follow."""

    title: str
    text: str
    answer: str
    about: Fact


def relevant_passage(
    domain: Domain, fact: Fact, query: Wording, draw: Draw, *, never_literal: bool = False
) -> Passage:
    """A passage on a fact in other words than the query's, except at times for the subject."""
    literal = draw.chance(domain.literal) and not never_literal
    wording = Wording(
        aspect=draw.other(FORMS, query.aspect),
        subject=query.subject if literal else draw.other(FORMS, query.subject),
        finding=draw.other(FORMS, query.finding),
    )
    return _passage(domain, fact, wording, draw)


def distractors(
    domain: Domain,
    fact: Fact,
    query: Wording,
    slots: Sequence[Slot],
    residues: tuple[int, ...],
    draw: Draw,
) -> list[Passage]:
    """For each slot a passage in the query's words, but with another concept in that slot."""
    passages = []
    for slot in slots:
        changed = domain.changed(fact, slot, residues, draw)
        wording = query._replace(**{slot: draw.below(FORMS)})
        passages.append(_passage(domain, changed, wording, draw))
    return passages


def _passage(domain: Domain, fact: Fact, wording: Wording, draw: Draw) -> Passage:
    words = domain.words(fact, wording)
    number, year = draw.one(NUMBERS), draw.one(YEARS)
    text = draw.one(domain.openings).format(**words, n=number, y=year)
    if draw.chance(0.5):
        text += f" {draw.one(domain.fillers)}"
    answer = "the {aspect} {subject} in {place} {finding}".format(**words)
    return Passage(draw.one(domain.titles), text, answer, fact)
