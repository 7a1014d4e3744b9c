"""What the texts talk about: facts, queries about them, and the passages that state them."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

VERSION = "1"
"""Version of the tiny world: changes whenever a byte of what is generated changes."""

DomainName = Literal["web", "scientific"]
Part = Literal["train", "dev", "benchmark"]
Slot = Literal["aspect", "subject", "place", "finding"]

Concept = tuple[str, ...]
"""The wordings of one concept. They share no word, so matching words finds none by another."""

FORMS = 3
"""Wordings of every aspect, subject and finding; a place has one."""

NUMBERS, YEARS = tuple(range(2, 98)), tuple(range(1990, 2020))

RESIDUES: dict[Part, tuple[int, ...]] = {"train": (2, 3, 4), "dev": (1,), "benchmark": (0,)}
"""Residues of the facts that a part's queries are about: no two parts share a fact."""

NOT_QUERIED = (5, 6, 7)
"""Residues of the facts that no query is about. Distractors of training rows state them, so that
they answer no other query."""

ANY = tuple(range(8))

OWN_ASPECTS = 0.2
"""Share of the facts with one of the domain's own aspects, which are few."""

T = TypeVar("T")


def concepts(table: str) -> tuple[Concept, ...]:
    """The rows of a table of texts.csv."""
    with Path(__file__).with_name("texts.csv").open(newline="", encoding="utf-8") as file:
        return tuple(tuple(texts) for name, *texts in csv.reader(file) if name == table)


def texts(table: str) -> tuple[str, ...]:
    """All texts of a table of texts.csv."""
    return tuple(text for row in concepts(table) for text in row)


PLACES = tuple(f"{a} {b}" for a in texts("first name") for b in texts("second name"))
"""So many that a random passage is hardly ever on the same place."""

# Shared by both domains, as places are.
FINDINGS, GENERAL_ASPECTS = concepts("finding"), concepts("general aspect")


class Draw:
    """Random choices, seeded with the version and a name: the same on every machine.

    Python guarantees the sequence of `random.Random.random`, but not that of `choice` and
    `sample`.
    """

    def __init__(self, *name: str) -> None:
        self._next = random.Random("/".join((VERSION, *name))).random

    def chance(self, share: float) -> bool:
        return self._next() < share

    def below(self, bound: int) -> int:
        return int(self._next() * bound)

    def other(self, bound: int, than: int) -> int:
        """A number below the bound, but not this one."""
        return (than + 1 + self.below(bound - 1)) % bound

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """Different items in random order; all if there are fewer."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]


class Fact(NamedTuple):
    """A finding on an aspect of a subject in a place, as positions in the tables of concepts."""

    aspect: int
    subject: int
    place: int
    finding: int

    @property
    def residue(self) -> int:
        """A number below 8 that depends on every concept."""
        return (3 * self.aspect + 5 * self.subject + 7 * self.place + self.finding) % 8

    def shared(self, other: Fact) -> int:
        """Number of slots in which two facts have the same concept."""
        return sum(mine == its for mine, its in zip(self, other, strict=True))


class Wording(NamedTuple):
    """Which form of a fact's concepts a text uses; a place has only one."""

    aspect: int
    subject: int
    finding: int

    @classmethod
    def random(cls, draw: Draw) -> Wording:
        return cls(draw.below(FORMS), draw.below(FORMS), draw.below(FORMS))


class Passage(NamedTuple):
    """A passage and the fact that it states, from which all judgments follow."""

    title: str
    text: str
    answer: str
    about: Fact


class Query(NamedTuple):
    """A query about a fact, with passages on it and distractors."""

    fact: Fact
    text: str
    passages: list[Passage]


class Domain:
    """Concepts and templates of a domain: its tables in texts.csv.

    `literal` is the share of the relevant passages in which the subject has the query's wording.
    """

    def __init__(self, name: DomainName, literal: float) -> None:
        self.aspects = GENERAL_ASPECTS + concepts(f"{name} aspect")
        self.subjects = concepts(f"{name} subject")
        # A passage's first sentence, with a number and a year, and sentences that may follow.
        self.openings, self.fillers = texts(f"{name} opening"), texts(f"{name} filler")
        self.titles = texts(f"{name} title")
        self.literal = literal

    def words(self, fact: Fact, wording: Wording) -> dict[Slot, str]:
        """The slots of a fact in words."""
        return {
            "aspect": self.aspects[fact.aspect][wording.aspect],
            "subject": self.subjects[fact.subject][wording.subject],
            "place": PLACES[fact.place],
            "finding": FINDINGS[fact.finding][wording.finding],
        }

    def facts(self, part: Part, count: int, draw: Draw) -> list[Fact]:
        """Facts for the queries of a part, each in a different place."""
        general, own = len(GENERAL_ASPECTS), len(self.aspects) - len(GENERAL_ASPECTS)
        facts: dict[int, Fact] = {}
        while len(facts) < count:
            fact = Fact(
                general + draw.below(own) if draw.chance(OWN_ASPECTS) else draw.below(general),
                draw.below(len(self.subjects)),
                draw.below(len(PLACES)),
                draw.below(len(FINDINGS)),
            )
            if fact.residue in RESIDUES[part]:
                facts.setdefault(fact.place, fact)
        return list(facts.values())

    def changed(self, fact: Fact, slot: Slot, residues: tuple[int, ...], draw: Draw) -> Fact:
        """The fact with another concept in one slot, and one of the residues."""
        sizes = Fact(len(self.aspects), len(self.subjects), len(PLACES), len(FINDINGS))
        while True:
            concept = draw.other(getattr(sizes, slot), getattr(fact, slot))
            changed = fact._replace(**{slot: concept})
            if changed.residue in residues:
                return changed

    def query(
        self,
        fact: Fact,
        templates: Sequence[str],
        distractors: Sequence[Slot],
        residues: tuple[int, ...],
        draw: Draw,
        partial: Slot | None = None,
    ) -> Query:
        """A query about a fact with one or two relevant passages, and distractors.

        Each distractor changes one slot, and states a fact with one of the residues. With
        `partial` there are two relevant passages, and three on facts that differ in that slot.
        """
        wording = Wording.random(draw)
        text = draw.one(templates).format(**self.words(fact, wording))
        if partial is None:
            passages = [self.relevant(fact, wording, draw) for _ in range(1 + draw.chance(0.1))]
        else:
            others = [self.changed(fact, partial, ANY, draw) for _ in range(3)]
            passages = [self.relevant(fact, wording, draw, never_literal=True)]
            passages += [self.relevant(f, wording, draw) for f in (fact, *others)]
        passages += [self.distractor(fact, wording, slot, residues, draw) for slot in distractors]
        return Query(fact, text, passages)

    def relevant(
        self, fact: Fact, query: Wording, draw: Draw, *, never_literal: bool = False
    ) -> Passage:
        """A passage on a fact in other words than the query's, at times but for the subject."""
        literal = draw.chance(self.literal) and not never_literal
        wording = Wording(
            aspect=draw.other(FORMS, query.aspect),
            subject=query.subject if literal else draw.other(FORMS, query.subject),
            finding=draw.other(FORMS, query.finding),
        )
        return self._passage(fact, wording, draw)

    def distractor(
        self, fact: Fact, query: Wording, slot: Slot, residues: tuple[int, ...], draw: Draw
    ) -> Passage:
        """A passage in the query's words, but with another concept in one slot."""
        changed = self.changed(fact, slot, residues, draw)
        return self._passage(changed, query._replace(**{slot: draw.below(FORMS)}), draw)

    def _passage(self, fact: Fact, wording: Wording, draw: Draw) -> Passage:
        words = self.words(fact, wording)
        number, year = draw.one(NUMBERS), draw.one(YEARS)
        text = draw.one(self.openings).format(**words, n=number, y=year)
        if draw.chance(0.5):
            text += f" {draw.one(self.fillers)}"
        answer = "the {aspect} {subject} in {place} {finding}".format(**words)
        return Passage(draw.one(self.titles), text, answer, fact)


# Web pages on everyday things, and abstracts on health conditions, in which technical terms are
# repeated more often than paraphrased.
WEB, SCIENTIFIC = Domain("web", literal=0.4), Domain("scientific", literal=0.6)

DOMAINS: dict[DomainName, Domain] = {"web": WEB, "scientific": SCIENTIFIC}

QUESTIONS = texts("question")
"""Templates of the queries of training rows, in both domains, and of TinyMSMARCO."""


def lexicon() -> list[str]:
    """Texts with every word of both domains, to make a tokenizer from.

    >>> "settees" in lexicon(), "myocardial infarction" in lexicon()
    (True, True)
    """
    known = FINDINGS + WEB.aspects + SCIENTIFIC.aspects + WEB.subjects + SCIENTIFIC.subjects
    words = [*PLACES, *(wording for concept in known for wording in concept)]
    for domain in DOMAINS.values():
        words += [*domain.openings, *domain.fillers, *domain.titles]
    for table in ("question", "keywords", "claim", "topic"):
        words += texts(table)
    return [*words, *(str(number) for number in (*NUMBERS, *YEARS))]
