"""Facts, their wordings, and which facts the queries of a part may be about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from ettin_retrieval.sources.tiny.concepts import FINDINGS, GENERAL_ASPECTS, PLACES, Concept
from ettin_retrieval.sources.tiny.draw import Draw

DomainName = Literal["web", "scientific"]

Part = Literal["train", "dev", "benchmark"]

Slot = Literal["aspect", "subject", "place", "finding"]

FORMS = 3
"""Wordings of every aspect, subject and finding."""

RESIDUES: dict[Part, tuple[int, ...]] = {"train": (2, 3, 4), "dev": (1,), "benchmark": (0,)}
"""Residues of the facts that a part's queries are about: no two parts share a fact."""

NOT_QUERIED = (5, 6, 7)
"""Residues of the facts that no query is about. Distractors of training rows state them, so that
they answer no other query."""

ANY = tuple(range(8))

OWN_ASPECTS = 0.2
"""Share of the facts with one of the domain's own aspects, which are few."""


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


@dataclass(frozen=True)
class Domain:
    """Concepts and templates of a domain.

    Attributes
    ----------
    openings
        Templates of a passage's first sentence: the slots of a fact, a number and a year.
    fillers
        Sentences that may follow; they say nothing about the fact.
    literal
        Share of the relevant passages in which the subject has the query's wording.
    """

    aspects: tuple[Concept, ...]
    subjects: tuple[Concept, ...]
    openings: tuple[str, ...]
    fillers: tuple[str, ...]
    titles: tuple[str, ...]
    literal: float

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
        facts: dict[int, Fact] = {}
        while len(facts) < count:
            fact = self._fact(draw)
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

    def _fact(self, draw: Draw) -> Fact:
        general, own = len(GENERAL_ASPECTS), len(self.aspects) - len(GENERAL_ASPECTS)
        return Fact(
            general + draw.below(own) if draw.chance(OWN_ASPECTS) else draw.below(general),
            draw.below(len(self.subjects)),
            draw.below(len(PLACES)),
            draw.below(len(FINDINGS)),
        )
