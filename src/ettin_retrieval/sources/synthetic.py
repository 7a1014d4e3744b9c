"""The embedded collection: a small generated world in which retrieval can be learnt.

A fact is an aspect of a subject for a place of people: *cost of* + *sofas* + *among students*.
Each of the three has several wordings that share no word. A query words its fact in one way and
the relevant passage mostly in others, while its distractors repeat the query's own words but
change one of the three. So whoever matches words, as an untrained encoder does, finds the
distractors; an encoder has to learn which wordings mean the same, and that all three count.

Two domains share aspects and places, so that what is learnt in one helps in the other, but each
has its own subjects and some aspects of its own, so that training in the domain helps more.

>>> sorted(benchmark())
['TinyDBPedia', 'TinyMSMARCO', 'TinyNFCorpus', 'TinySciFact']
>>> rows = training_rows("web")["train"]
>>> sorted(rows[0])
['answers', 'passages', 'query', 'query_id', 'query_type', 'wellFormedAnswers']
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from ettin_retrieval.records import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.sources.synthetic_concepts import (
    GENERAL_ASPECTS,
    PLACES,
    SCIENTIFIC_ASPECTS,
    SCIENTIFIC_SUBJECTS,
    WEB_ASPECTS,
    WEB_SUBJECTS,
    Concept,
)

VERSION = "1"
"""Version of the generator: changes whenever a byte of what it generates changes."""

LICENCE = "CC0-1.0"

TRAIN_QUERIES = 2000
DEV_QUERIES = 100
PASSAGES_PER_ROW = 10

DomainName = Literal["web", "scientific"]
Part = Literal["benchmark", "dev", "train"]
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A retrieval task of the generated benchmark."""

    name: str
    domain: DomainName
    split: str
    graded: bool
    description: str
    queries: int


TASKS = {
    task.name: task
    for task in (
        Task(
            "TinyMSMARCO", "web", "dev", False,
            "Questions of the training rows' kind about facts that no training row asks for.", 150,
        ),
        Task(
            "TinyDBPedia", "web", "test", True,
            "Keywords. 2: the same aspect, subject and place; 1: another place.", 60,
        ),
        Task(
            "TinySciFact", "scientific", "test", False,
            "Claims about health conditions, and the titled abstract that studies the claim.", 150,
        ),
        Task(
            "TinyNFCorpus", "scientific", "test", True,
            "Short topics without a place. 2: abstracts on the topic; 1: it is mentioned.", 60,
        ),
    )
}  # fmt: skip


class Fact(NamedTuple):
    """An aspect of a subject for a place, as positions in the tables of concepts."""

    aspect: int
    subject: int
    place: int


class Wording(NamedTuple):
    """Which form of each of a fact's concepts a text uses."""

    aspect: int
    subject: int


@dataclass(frozen=True)
class Passage:
    """A text with what it is about, from which all judgments follow."""

    title: str
    text: str
    about: Fact
    mentions: Fact | None = None
    answer: str = ""


class Draw:
    """Random choices that are the same on every machine and Python version.

    Only `random.Random.random` promises to keep its sequence; `choice` and `sample` do not.
    """

    def __init__(self, *name: object) -> None:
        self._next = random.Random("/".join(str(part) for part in name)).random

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self._next() * bound)

    def one(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def other(self, bound: int, than: int) -> int:
        """A number below the bound, but not this one."""
        return (than + 1 + self.below(bound - 1)) % bound

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self._next() < share

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """Different items in random order, as many as there are if there are fewer."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]


@dataclass(frozen=True)
class Domain:
    """The tables and templates of a domain.

    In a template `{a}`, `{s}`, `{p}` stand for aspect, subject and place, `{n}` for a number and
    `{y}` for a year; `{o}` for a subject that the passage is not about.
    """

    name: DomainName
    aspects: tuple[Concept, ...]
    subjects: tuple[Concept, ...]
    openings: tuple[str, ...]
    fillers: tuple[str, ...]
    asides: tuple[str, ...]
    titles: tuple[str, ...]

    def words(self, fact: Fact, wording: Wording) -> dict[str, str]:
        """What the placeholders of a fact stand for."""
        return {
            "a": self.aspects[fact.aspect][wording.aspect],
            "s": self.subjects[fact.subject][wording.subject],
            "p": PLACES[fact.place],
        }


QUESTIONS = (
    ("what is the {a} {s} in {p}", "description"),
    ("{a} {s} in {p}", "description"),
    ("what do we know about the {a} {s} in {p}", "description"),
    ("how many percent is the {a} {s} in {p}", "numeric"),
    ("in {p} what is the {a} {s}", "numeric"),
    ("is there any news on the {a} {s} in {p}", "description"),
)
"""Templates of the training questions, each with its MS MARCO query type."""

CLAIMS = (
    "the {a} {s} in {p} changed over the study period",
    "in {p} the {a} {s} depends on income",
    "there is evidence on the {a} {s} in {p}",
)
KEYWORDS = ("{a} {s} in {p}", "{p} {a} {s}")
TOPICS = ("{a} {s}", "about the {a} {s}")

WEB = Domain(
    name="web",
    aspects=GENERAL_ASPECTS + WEB_ASPECTS,
    subjects=WEB_SUBJECTS,
    openings=(
        "The {a} {s} in {p} came to {n} points on the {y} index.",
        "In {y} the {a} {s} in {p} changed by about {n} percent.",
        "This page sums up the {a} {s} in {p}, last put at {n} percent in {y}.",
        "Readers often ask about the {a} {s} in {p}; our {y} figure was {n} percent.",
        "According to a {y} report, the {a} {s} in {p} stood at {n} percent.",
    ),
    fillers=(
        "The guide is updated every spring.",
        "Conditions vary by region, so call ahead.",
        "Scroll down for the full table.",
        "The numbers were rounded.",
        "Local offices can tell you more.",
        "Read the small print before you decide.",
        "Some people see it differently.",
        "Share this page with a friend.",
        "A short video shows the main points.",
        "The picture was much the same last year.",
    ),
    asides=(
        "For {o} please see our other article.",
        "Unlike {o}, this has been looked at for years.",
        "We do not cover {o} here.",
    ),
    titles=("",),
)

SCIENTIFIC = Domain(
    name="scientific",
    aspects=GENERAL_ASPECTS + SCIENTIFIC_ASPECTS,
    subjects=SCIENTIFIC_SUBJECTS,
    openings=(
        "We examined the {a} {s} in {p} in a cohort of {n} participants from {y} onwards.",
        "The {a} {s} in {p} was assessed at {n} sites in {y}.",
        "This analysis of {n} hospitals describes the {a} {s} in {p} since {y}.",
        "Objective: to quantify the {a} {s} in {p}, using {y} registry data from {n} centres.",
        "Our {y} trial with {n} volunteers addressed the {a} {s} in {p}.",
    ),
    fillers=(
        "Outcomes were adjusted for confounders.",
        "Confidence intervals were wide.",
        "The findings were robust.",
        "Samples were processed blind to allocation.",
        "Larger trials seem warranted.",
        "The protocol was registered in advance.",
        "Multivariate models confirmed the association.",
        "No interaction was observed between subplaces.",
        "Missing values were imputed.",
        "Results agreed with an earlier meta-analysis.",
    ),
    asides=(
        "Patients with {o} were excluded.",
        "In contrast to {o}, no threshold was found.",
        "Controls were recruited from a registry of {o}.",
    ),
    titles=(
        "A cohort analysis",
        "Results of a multicentre trial",
        "A systematic review",
        "Evidence from registry data",
        "A prospective observation",
    ),
)

DOMAINS: dict[DomainName, Domain] = {"web": WEB, "scientific": SCIENTIFIC}
FORMS = 3
MENTIONS = "A closing section turns to the {a} {s} in {p}."
RESIDUES: dict[Part, tuple[int, ...]] = {"benchmark": (0,), "dev": (1,), "train": (2, 3, 4)}
"""Which facts each part asks for, so that no fact is asked for in two of them."""


def residue(fact: Fact) -> int:
    """A number below 8 that depends on all three concepts alike."""
    return (3 * fact.aspect + 5 * fact.subject + 7 * fact.place) % 8


def training_rows(domain: DomainName = "web") -> dict[str, list[Row]]:
    """Training and development rows in the schema of microsoft/ms_marco.

    Parameters
    ----------
    domain
        `web` is what the pipeline trains on; `scientific` is for training across domains.

    Returns
    -------
    dict
        `train` and `dev`; rows with the columns query, query_id, query_type, answers,
        wellFormedAnswers and passages. No fact is asked for twice, nor in the benchmark.
    """
    sizes: dict[Part, int] = {"train": TRAIN_QUERIES, "dev": DEV_QUERIES}
    return {part: _rows(DOMAINS[domain], part, size) for part, size in sizes.items()}


def _rows(domain: Domain, part: Part, size: int) -> list[Row]:
    draw = Draw("rows", domain.name, part)
    facts = _facts(domain, part, size, draw)
    asked = [_ask(domain, fact, [q for q, _ in QUESTIONS], draw) for fact in facts]
    selected, distractors = [], []
    by_subject: dict[int, list[Passage]] = {}
    for fact, (_, wording) in zip(facts, asked, strict=True):
        count = 2 if draw.chance(0.1) else 1
        selected.append([_relevant(domain, fact, wording, draw) for _ in range(count)])
        # Facts of these residues are never asked for: a distractor is no one's answer.
        distractors.append(_distractors(domain, fact, wording, (5, 6, 7), draw))
        for passage in selected[-1] + distractors[-1]:
            by_subject.setdefault(passage.about.subject, []).append(passage)
    rows = []
    for number, fact in enumerate(facts):
        own = selected[number] + distractors[number]
        near = [p for p in by_subject[fact.subject] if p.about != fact and p not in own]
        passages = own + draw.several(near, PASSAGES_PER_ROW - len(own))
        passages = draw.several(passages, len(passages))
        query, _ = asked[number]
        query_type = "numeric" if "how many" in query else "description"
        rows.append(_row(query, number, query_type, passages, selected[number]))
    return rows


def _row(
    query: str, number: int, query_type: str, passages: list[Passage], selected: list[Passage]
) -> Row:
    return {
        "query": query,
        "query_id": number,
        "query_type": query_type,
        "answers": [selected[0].answer],
        "wellFormedAnswers": [],
        "passages": {
            "is_selected": [int(p in selected) for p in passages],
            "passage_text": [p.text for p in passages],
            "url": [f"https://example.org/{number}/{i}" for i in range(len(passages))],
        },
    }


def benchmark() -> dict[str, RetrievalDataset]:
    """The tasks of the generated benchmark: name to dataset."""
    return {name: _task(task) for name, task in TASKS.items()}


def _task(task: Task) -> RetrievalDataset:
    domain, draw = DOMAINS[task.domain], Draw("benchmark", task.name)
    templates = {
        "TinyMSMARCO": [q for q, _ in QUESTIONS],
        "TinyDBPedia": KEYWORDS,
        "TinySciFact": CLAIMS,
        "TinyNFCorpus": TOPICS,
    }[task.name]
    queries: list[tuple[str, Fact]] = []
    passages: list[Passage] = []
    for fact in _facts(domain, "benchmark", task.queries, draw):
        query, wording = _ask(domain, fact, templates, draw)
        queries.append((query, fact))
        passages += _answers(task, fact, wording, draw)
        slots = ("aspect", "aspect", "subject") + (("place",) if not task.graded else ())
        passages += _distractors(domain, fact, wording, tuple(range(8)), draw, slots)
    passages = draw.several(passages, len(passages))
    return _dataset(task, queries, passages)


def _answers(task: Task, fact: Fact, wording: Wording, draw: Draw) -> list[Passage]:
    """What a task has on a query, from one passage to many of both grades."""
    domain = DOMAINS[task.domain]
    if task.name == "TinyDBPedia":
        others = [_with_other(domain, fact, "place", draw) for _ in range(3)]
        return [_relevant(domain, f, wording, draw) for f in [fact, fact, *others]]
    if task.name == "TinyNFCorpus":
        others = [_with_other(domain, fact, "place", draw) for _ in range(4)]
        mentions = [
            _relevant(domain, _random_fact(domain, draw), wording, draw, mentions=fact)
            for _ in range(3)
        ]
        return [_relevant(domain, f, wording, draw) for f in [fact, *others]] + mentions
    return [_relevant(domain, fact, wording, draw) for _ in range(2 if draw.chance(0.1) else 1)]


def _grade(task: Task, asked: Fact, passage: Passage) -> int:
    """How relevant a passage is, by meaning alone."""
    same_topic = passage.about[:2] == asked[:2]
    if task.name == "TinyNFCorpus":
        mentioned = passage.mentions is not None and passage.mentions[:2] == asked[:2]
        return 2 if same_topic else int(mentioned)
    if task.name == "TinyDBPedia" and same_topic:
        return 2 if passage.about == asked else 1
    return int(passage.about == asked)


def _dataset(
    task: Task, queries: list[tuple[str, Fact]], passages: list[Passage]
) -> RetrievalDataset:
    prefix = task.name.removeprefix("Tiny").lower()
    judged = []
    for number, (_, fact) in enumerate(queries):
        for position, passage in enumerate(passages):
            grade = _grade(task, fact, passage)
            # A graded task says of the nearest misses that they were looked at.
            near = task.graded and sum(x == y for x, y in zip(passage.about, fact, strict=True)) > 1
            if grade or near:
                judged.append((f"{prefix}-q{number}", f"{prefix}-{position}", grade))
    return RetrievalDataset(
        corpus=frame([(f"{prefix}-{i}", p.title, p.text) for i, p in enumerate(passages)], CORPUS),
        queries=frame([(f"{prefix}-q{i}", q) for i, (q, _) in enumerate(queries)], QUERIES),
        qrels=frame(judged, QRELS),
        origin=Origin(
            source="synthetic",
            revision=VERSION,
            licence=LICENCE,
            split=task.split,
            notes={"domain": task.domain, "description": task.description},
        ),
    ).validate()


def _random_fact(domain: Domain, draw: Draw) -> Fact:
    # A domain's own aspects are few; half of the facts are about them all the same.
    aspects, general = len(domain.aspects), len(GENERAL_ASPECTS)
    own = draw.chance(0.3)
    aspect = general + draw.below(aspects - general) if own else draw.below(general)
    return Fact(aspect, draw.below(len(domain.subjects)), draw.below(len(PLACES)))


def _facts(domain: Domain, part: Part, count: int, draw: Draw) -> list[Fact]:
    """Different facts that only this part asks for."""
    facts: dict[Fact, None] = {}
    while len(facts) < count:
        fact = _random_fact(domain, draw)
        if residue(fact) in RESIDUES[part]:
            facts[fact] = None
    return list(facts)


def _with_other(
    domain: Domain, fact: Fact, slot: str, draw: Draw, residues: tuple[int, ...] = tuple(range(8))
) -> Fact:
    """The fact with one of its three concepts changed."""
    sizes = {"aspect": domain.aspects, "subject": domain.subjects, "place": PLACES}
    while True:
        changed = fact._replace(**{slot: draw.other(len(sizes[slot]), getattr(fact, slot))})
        if residue(changed) in residues:
            return changed


def _ask(
    domain: Domain, fact: Fact, templates: Sequence[str], draw: Draw
) -> tuple[str, Wording]:
    wording = Wording(draw.below(FORMS), draw.below(FORMS))
    return draw.one(templates).format(**domain.words(fact, wording)), wording


def _relevant(
    domain: Domain, fact: Fact, asked: Wording, draw: Draw, mentions: Fact | None = None
) -> Passage:
    """A passage on a fact that shares with the query the wording of one concept at most."""
    subject = asked.subject if draw.chance(0.4) else draw.other(FORMS, asked.subject)
    wording = Wording(draw.other(FORMS, asked.aspect), subject)
    return _passage(domain, fact, wording, draw, mentions=mentions)


def _distractors(
    domain: Domain, fact: Fact, asked: Wording, residues: tuple[int, ...], draw: Draw, slots=("aspect", "aspect", "subject", "place")
) -> list[Passage]:
    """Passages in the query's own words, each with one of the three concepts changed."""
    passages = []
    for slot in slots:
        changed = _with_other(domain, fact, slot, draw, residues)
        wording = asked if slot == "place" else asked._replace(**{slot: draw.below(FORMS)})
        # The query's subject is named after all, only not as what the passage is about.
        named = domain.subjects[fact.subject][asked.subject] if slot == "subject" else None
        passages.append(_passage(domain, changed, wording, draw, aside=named))
    return passages


def _passage(
    domain: Domain,
    fact: Fact,
    wording: Wording,
    draw: Draw,
    aside: str | None = None,
    mentions: Fact | None = None,
) -> Passage:
    number, year = str(2 + draw.below(95)), str(1990 + draw.below(30))
    words = domain.words(fact, wording) | {"n": number, "y": year}
    sentences = [draw.one(domain.openings).format(**words), draw.one(domain.fillers)]
    if aside is None and draw.chance(0.3):
        other = draw.other(len(domain.subjects), fact.subject)
        aside = draw.one(domain.subjects[other])
    if aside is not None:
        sentences.append(draw.one(domain.asides).format(o=aside))
    if mentions is not None:
        any_wording = Wording(draw.below(FORMS), draw.below(FORMS))
        sentences.append(MENTIONS.format(**domain.words(mentions, any_wording)))
    return Passage(
        title=draw.one(domain.titles),
        text=" ".join(sentences),
        about=fact,
        mentions=mentions,
        answer=f"{number} in {year}",
    )
