"""The embedded collection: a small generated world in which retrieval can be learnt.

A fact is a finding on an aspect of a subject in a place: *the cost of* + *sofas* + *in Norway* +
*rose*. All but the place have three wordings that share no word. A query words its fact in one
way and the relevant passage mostly in others. Its distractors are the near misses: they repeat
the query's words, but one of them only to deny it (*sofas in Norway fell and not rose*). So

- whoever matches words, as an untrained encoder does, finds the distractors;
- random negatives teach which wordings mean the same, but hardly ever show a denial: that is what
  mined hard negatives are for;
- aspects, places, findings and the way to deny are shared by the two domains, so what is learnt
  in one helps in the other, but each has subjects of its own (and some aspects), so training in
  the domain helps more.

Three facts out of eight may be asked for in training, one in development and one in the
benchmark: whoever learns the training queries by heart has no answer in the benchmark.

>>> sorted(benchmark())
['TinyDBPedia', 'TinyMSMARCO', 'TinyNFCorpus', 'TinySciFact']
>>> row = training_rows("web")["train"][0]
>>> sorted(row)
['answers', 'passages', 'query', 'query_id', 'query_type', 'wellFormedAnswers']
>>> len(row["passages"]["passage_text"])
10
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.sources.tiny.concepts import (
    FINDINGS,
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

TRAIN_QUERIES = 1600

DEV_QUERIES = 100

PASSAGES_PER_ROW = 10

DomainName = Literal["web", "scientific"]

Part = Literal["train", "dev", "benchmark"]

Slot = Literal["aspect", "subject", "place", "finding"]

Row = dict[str, Any]

T = TypeVar("T")


class Fact(NamedTuple):
    """Positions in the tables of concepts."""

    aspect: int
    subject: int
    place: int
    finding: int

    @property
    def residue(self) -> int:
        """A number below 8 that depends on each of the concepts."""
        return (3 * self.aspect + 5 * self.subject + 7 * self.place + self.finding) % 8


class Wording(NamedTuple):
    """Which form of a fact's concepts a text uses; a place has but one."""

    aspect: int
    subject: int
    finding: int


@dataclass(frozen=True)
class Passage:
    """A text with what it is about, from which all judgments follow."""

    title: str
    text: str
    answer: str
    about: Fact


@dataclass(frozen=True)
class Domain:
    """The tables and templates of a domain.

    Attributes
    ----------
    openings
        Templates of a passage's first sentence: the four slots of a fact, a number and a year.
    literal
        In this share of the relevant passages the subject has the query's wording.
    """

    name: DomainName
    aspects: tuple[Concept, ...]
    subjects: tuple[Concept, ...]
    openings: tuple[str, ...]
    fillers: tuple[str, ...]
    titles: tuple[str, ...]
    literal: float

    def words(self, fact: Fact, wording: Wording) -> dict[Slot, str]:
        """A fact's slots in words."""
        return {
            "aspect": self.aspects[fact.aspect][wording.aspect],
            "subject": self.subjects[fact.subject][wording.subject],
            "place": PLACES[fact.place],
            "finding": FINDINGS[fact.finding][wording.finding],
        }

    def size(self, slot: Slot) -> int:
        """How many concepts a slot can hold."""
        sizes = {"place": len(PLACES), "finding": len(FINDINGS)}
        sizes |= {"aspect": len(self.aspects), "subject": len(self.subjects)}
        return sizes[slot]


@dataclass(frozen=True)
class Task:
    """A retrieval task of the generated benchmark.

    Attributes
    ----------
    templates
        Of the queries.
    distractors
        Which slot each of a query's distractors changes.
    """

    name: str
    domain: DomainName
    split: str
    graded: bool
    queries: int
    templates: tuple[str, ...]
    distractors: tuple[Slot, ...]
    description: str


FORMS = 3

NEAR_MISSES: tuple[Slot, ...] = ("aspect", "subject", "subject", "finding")

ASKED_IN: dict[Part, tuple[int, ...]] = {"train": (2, 3, 4), "dev": (1,), "benchmark": (0,)}
"""The residues of the facts that a part may ask for: no fact is asked for in two of them."""

NEVER_ASKED = (5, 6, 7)
"""The residues of distractors in training rows: no training query's answer is another's miss."""

ANY = tuple(range(8))

QUESTIONS = (
    "is it true that the {aspect} {subject} in {place} {finding}",
    "{aspect} {subject} in {place} {finding}",
    "how do we know that the {aspect} {subject} in {place} {finding}",
    "in what year was it that the {aspect} {subject} in {place} {finding}",
    "who says that in {place} the {aspect} {subject} {finding}",
)

TASKS = {
    task.name: task
    for task in (
        Task(
            name="TinyMSMARCO",
            domain="web",
            split="dev",
            graded=False,
            queries=150,
            templates=QUESTIONS,
            distractors=("aspect", "aspect", "subject", "subject", "finding", "finding"),
            description="Questions of the training rows' kind, on facts that no row asks for.",
        ),
        Task(
            name="TinyDBPedia",
            domain="web",
            split="test",
            graded=True,
            queries=100,
            templates=(
                "{aspect} {subject} {place} {finding}",
                "{place} {aspect} {subject} {finding}",
            ),
            distractors=("subject", "subject", "subject", "finding", "finding"),
            description="Keywords. 2: the fact itself; 1: the same said of another aspect.",
        ),
        Task(
            name="TinySciFact",
            domain="scientific",
            split="test",
            graded=False,
            queries=150,
            templates=(
                "the {aspect} {subject} in {place} {finding}",
                "in {place} the {aspect} {subject} {finding}",
            ),
            distractors=("aspect", "aspect", "subject", "finding", "finding", "finding"),
            description="Claims on health conditions; relevant is the abstract that supports it.",
        ),
        Task(
            name="TinyNFCorpus",
            domain="scientific",
            split="test",
            graded=True,
            queries=100,
            templates=(
                "{aspect} {subject} {finding} in {place}",
                "{place} {aspect} {subject} {finding}",
            ),
            distractors=("aspect", "subject", "finding", "finding"),
            description="Topics. 2: abstracts on the fact itself; 1: the same of another place.",
        ),
    )
}

WEB = Domain(
    name="web",
    aspects=GENERAL_ASPECTS + WEB_ASPECTS,
    subjects=WEB_SUBJECTS,
    openings=(
        "In {y} the {aspect} {subject} in {place} {finding}, our table shows.",
        "The {aspect} {subject} in {place} {finding}, says a report of {n} pages from {y}.",
        "Readers tell us that the {aspect} {subject} in {place} {finding} after {y}.",
        "It turns out that the {aspect} {subject} in {place} {finding} in {n} months of {y}.",
        "About {n} percent of visitors noticed that in {place} the {aspect} {subject} {finding}.",
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
    titles=("",),
    literal=0.4,
)

SCIENTIFIC = Domain(
    name="scientific",
    aspects=GENERAL_ASPECTS + SCIENTIFIC_ASPECTS,
    subjects=SCIENTIFIC_SUBJECTS,
    openings=(
        "In a cohort of {n} participants from {y}, the {aspect} {subject} in {place} {finding}.",
        "At {n} sites observed in {y}, the {aspect} {subject} in {place} {finding}.",
        "Analysis of {n} hospitals shows that the {aspect} {subject} in {place} {finding}.",
        "Registry data of {y} suggest that in {place} the {aspect} {subject} {finding}.",
        "Our {y} trial with {n} volunteers found that the {aspect} {subject} in {place} {finding}.",
    ),
    fillers=(
        "Outcomes were adjusted for confounders.",
        "Confidence intervals were wide.",
        "The findings were robust.",
        "Samples were processed blind to allocation.",
        "Larger trials seem warranted.",
        "The protocol was registered in advance.",
        "Multivariate models confirmed the association.",
        "No interaction was observed between subgroups.",
        "Missing values were imputed.",
        "Results agreed with an earlier meta-analysis.",
    ),
    titles=(
        "A cohort analysis",
        "Results of a multicentre trial",
        "A systematic review",
        "Evidence from registry data",
        "A prospective observation",
    ),
    # Technical terms are more often repeated than paraphrased.
    literal=0.6,
)

DOMAINS: dict[DomainName, Domain] = {"web": WEB, "scientific": SCIENTIFIC}

NUMBERS = tuple(range(2, 98))

YEARS = tuple(range(1990, 2020))


class Draw:
    """Random choices that are the same on every machine and Python version.

    Only `random.Random.random` promises to keep its sequence; `choice` and `sample` do not.
    """

    def __init__(self, *name: str) -> None:
        self._next = random.Random("/".join((VERSION, *name))).random

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self._next() < share

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self._next() * bound)

    def other(self, bound: int, than: int) -> int:
        """A number below the bound, but not this one."""
        return (than + 1 + self.below(bound - 1)) % bound

    def one(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """Different items in random order, all if there are fewer."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]

    def wording(self) -> Wording:
        """Any wording."""
        return Wording(self.below(FORMS), self.below(FORMS), self.below(FORMS))


def training_rows(domain: DomainName = "web") -> dict[str, list[Row]]:
    """Training and development rows in the schema of microsoft/ms_marco.

    Parameters
    ----------
    domain
        `web` is what the pipeline trains on; `scientific` is for training across domains.

    Returns
    -------
    dict
        `train` and `dev`: rows with query, query_id, query_type, answers, wellFormedAnswers and
        passages.
    """
    sizes: dict[Part, int] = {"train": TRAIN_QUERIES, "dev": DEV_QUERIES}
    return {part: _rows(DOMAINS[domain], part, size) for part, size in sizes.items()}


def teacher_scores(domain: DomainName = "web") -> dict[tuple[int, str], float]:
    """What an all-knowing teacher says of the passages of the training rows.

    Returns
    -------
    dict
        (query_id, passage) to the share of the four slots in which query and passage hold the
        same concept: 1 for the answer, 0.75 for a near miss, down to 0.
    """
    return {
        (number, passage.text): _shared(asked.fact, passage.about) / len(asked.fact)
        for number, asked in enumerate(_asked(DOMAINS[domain], "train", TRAIN_QUERIES))
        for passage in asked.passages
    }


def benchmark() -> dict[str, RetrievalDataset]:
    """The tasks of the generated benchmark: name to dataset."""
    return {name: _dataset(task) for name, task in TASKS.items()}


def lexicon() -> list[str]:
    """Texts that hold every word of both domains: what a tokenizer of this world is made from.

    Examples
    --------
    >>> "settees" in lexicon(), "myocardial infarction" in lexicon()
    (True, True)
    """
    texts = list(PLACES)
    for concept in FINDINGS + WEB.aspects + SCIENTIFIC.aspects + WEB.subjects + SCIENTIFIC.subjects:
        texts += concept
    for domain in DOMAINS.values():
        texts += [*domain.openings, *domain.fillers, *domain.titles]
    for task in TASKS.values():
        texts += task.templates
    return [*texts, *(str(number) for number in (*NUMBERS, *YEARS))]


class Asked(NamedTuple):
    """A fact, the query that asks for it, and the passages of its row."""

    fact: Fact
    query: str
    passages: list[Passage]


def _rows(domain: Domain, part: Part, size: int) -> list[Row]:
    return [_row(number, asked) for number, asked in enumerate(_asked(domain, part, size))]


def _asked(domain: Domain, part: Part, size: int) -> list[Asked]:
    """Each row's own passages first, then the ten of every row from them all."""
    draw = Draw("rows", domain.name, part)
    facts = _facts(domain, part, size, draw)
    asked, own = [], []
    of_subject: dict[int, list[Passage]] = {}
    for fact in facts:
        wording = draw.wording()
        asked.append(_query(domain, fact, wording, QUESTIONS, draw))
        passages = [_relevant(domain, fact, wording, draw) for _ in range(1 + draw.chance(0.1))]
        passages += _distractors(domain, fact, wording, NEAR_MISSES, NEVER_ASKED, draw)
        own.append(passages)
        for passage in passages:
            of_subject.setdefault(passage.about.subject, []).append(passage)
    rows = []
    for number, fact in enumerate(facts):
        # The rest is on the same subject, as a search engine would find it, while that lasts.
        near = [p for p in of_subject[fact.subject] if p not in own[number]]
        passages = own[number] + draw.several(near, PASSAGES_PER_ROW - len(own[number]))
        while len(passages) < PASSAGES_PER_ROW:
            further = draw.one(draw.one(own))
            passages += [further] if further not in passages else []
        rows.append(Asked(fact, asked[number], draw.several(passages, len(passages))))
    return rows


def _row(number: int, asked: Asked) -> Row:
    fact, query, passages = asked
    return {
        "query": query,
        "query_id": number,
        "query_type": "numeric" if "what year" in query else "description",
        "answers": [p.answer for p in passages if p.about == fact][:1],
        "wellFormedAnswers": [],
        "passages": {
            "is_selected": [int(p.about == fact) for p in passages],
            "passage_text": [p.text for p in passages],
            "url": [f"https://example.org/{number}/{place}" for place in range(len(passages))],
        },
    }


def _dataset(task: Task) -> RetrievalDataset:
    domain, draw = DOMAINS[task.domain], Draw("benchmark", task.name)
    facts = _facts(domain, "benchmark", task.queries, draw)
    queries: list[str] = []
    passages: list[Passage] = []
    for fact in facts:
        wording = draw.wording()
        queries.append(_query(domain, fact, wording, task.templates, draw))
        passages += _answers(task, fact, wording, draw)
        passages += _distractors(domain, fact, wording, task.distractors, ANY, draw)
    passages = draw.several(passages, len(passages))
    prefix = task.name.removeprefix("Tiny").lower()
    notes = {"domain": task.domain, "description": task.description}
    return RetrievalDataset(
        corpus=frame([(f"{prefix}-{i}", p.title, p.text) for i, p in enumerate(passages)], CORPUS),
        queries=frame([(f"{prefix}-q{i}", query) for i, query in enumerate(queries)], QUERIES),
        qrels=frame(_judgments(task, prefix, facts, passages), QRELS),
        origin=Origin("tiny", VERSION, LICENCE, task.split, notes),
    ).validate()


def _judgments(
    task: Task, prefix: str, facts: list[Fact], passages: list[Passage]
) -> list[tuple[str, str, int]]:
    """Every passage that is relevant to a query, by meaning; in graded tasks near misses too."""
    judged = []
    for number, fact in enumerate(facts):
        for position, passage in enumerate(passages):
            grade = _grade(task, fact, passage)
            if grade or (task.graded and _shared(fact, passage.about) == len(fact) - 1):
                judged.append((f"{prefix}-q{number}", f"{prefix}-{position}", grade))
    return judged


def _grade(task: Task, asked: Fact, passage: Passage) -> int:
    about = passage.about
    if task.name == "TinyNFCorpus":
        return (1 + (about.place == asked.place)) * (about._replace(place=asked.place) == asked)
    if task.name == "TinyDBPedia":
        return (1 + (about.aspect == asked.aspect)) * (about[1:] == asked[1:])
    return int(about == asked)


def _shared(one: Fact, other: Fact) -> int:
    return sum(x == y for x, y in zip(one, other, strict=True))


def _answers(task: Task, fact: Fact, wording: Wording, draw: Draw) -> list[Passage]:
    """The relevant passages of a query, from one to many of both grades."""
    domain = DOMAINS[task.domain]
    if not task.graded:
        return [_relevant(domain, fact, wording, draw) for _ in range(1 + draw.chance(0.1))]
    partly: Slot = "place" if task.name == "TinyNFCorpus" else "aspect"
    others = [_changed(domain, fact, partly, ANY, draw) for _ in range(3)]
    in_other_words = _relevant(domain, fact, wording, draw, never_literal=True)
    return [in_other_words, *(_relevant(domain, f, wording, draw) for f in (fact, *others))]


def _fact(domain: Domain, draw: Draw) -> Fact:
    general, all_aspects = len(GENERAL_ASPECTS), len(domain.aspects)
    # The domain's own aspects are few, but what people ask about most.
    own = draw.chance(0.2)
    return Fact(
        aspect=general + draw.below(all_aspects - general) if own else draw.below(general),
        subject=draw.below(domain.size("subject")),
        place=draw.below(domain.size("place")),
        finding=draw.below(domain.size("finding")),
    )


def _facts(domain: Domain, part: Part, count: int, draw: Draw) -> list[Fact]:
    """Facts that only this part asks for, each in a place of its own."""
    facts: dict[int, Fact] = {}
    while len(facts) < count:
        fact = _fact(domain, draw)
        if fact.residue in ASKED_IN[part]:
            facts.setdefault(fact.place, fact)
    return list(facts.values())


def _changed(domain: Domain, fact: Fact, slot: Slot, residues: tuple[int, ...], draw: Draw) -> Fact:
    """The fact with another concept in one slot."""
    while True:
        changed = fact._replace(**{slot: draw.other(domain.size(slot), getattr(fact, slot))})
        if changed.residue in residues:
            return changed


def _query(
    domain: Domain, fact: Fact, wording: Wording, templates: Sequence[str], draw: Draw
) -> str:
    return draw.one(templates).format(**domain.words(fact, wording))


def _relevant(
    domain: Domain, fact: Fact, asked: Wording, draw: Draw, never_literal: bool = False
) -> Passage:
    """A passage on a fact in other words than the query's, except at times for the subject."""
    literal = draw.chance(domain.literal) and not never_literal
    wording = Wording(
        aspect=draw.other(FORMS, asked.aspect),
        subject=asked.subject if literal else draw.other(FORMS, asked.subject),
        finding=draw.other(FORMS, asked.finding),
    )
    # Relevant passages deny something too, or a denial would tell that it is a distractor.
    return _passage(domain, fact, wording, draw)


def _distractors(
    domain: Domain,
    fact: Fact,
    asked: Wording,
    slots: Sequence[Slot],
    residues: tuple[int, ...],
    draw: Draw,
) -> list[Passage]:
    """The near misses of a query: its own words, but one of the slots holds something else.

    Where that can be said, the passage names the query's concept too, only to deny it.
    """
    passages = []
    for slot in slots:
        changed = _changed(domain, fact, slot, residues, draw)
        wording = asked if slot == "place" else asked._replace(**{slot: draw.below(FORMS)})
        passages.append(_passage(domain, changed, wording, draw))
    return passages


def _passage(
    domain: Domain,
    fact: Fact,
    wording: Wording,
    draw: Draw,
) -> Passage:
    words = domain.words(fact, wording)
    answer = "the {aspect} {subject} in {place} {finding}".format(**words)
    number, year = draw.one(NUMBERS), draw.one(YEARS)
    sentences = [draw.one(domain.openings).format(**words, n=number, y=year)]
    if draw.chance(0.5):
        sentences.append(draw.one(domain.fillers))
    return Passage(draw.one(domain.titles), " ".join(sentences), answer, fact)
