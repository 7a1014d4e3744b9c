"""The tasks of the tiny world and their datasets."""

from __future__ import annotations

from dataclasses import dataclass

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.sources.tiny.domains import DOMAINS, QUESTIONS
from ettin_retrieval.sources.tiny.draw import VERSION, Draw
from ettin_retrieval.sources.tiny.facts import ANY, DomainName, Fact, Slot, Wording
from ettin_retrieval.sources.tiny.passages import Passage, distractors, relevant_passage

LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Task:
    """A retrieval task.

    Attributes
    ----------
    queries
        Number of queries.
    templates
        Of the queries.
    distractors
        The slot that each of a query's distractors changes.
    partial
        Passages that differ from the query in this slot alone are partly relevant: they get grade
        1, the fact itself grade 2, and other passages that differ in one slot are judged 0.
        Without it, only the fact itself is judged, with grade 1.
    """

    name: str
    domain: DomainName
    queries: int
    templates: tuple[str, ...]
    distractors: tuple[Slot, ...]
    description: str
    split: str = "test"
    partial: Slot | None = None


_TASKS = (
    Task(
        name="TinyMSMARCO",
        domain="web",
        split="dev",
        queries=150,
        templates=QUESTIONS,
        distractors=("aspect", "aspect", "subject", "subject", "finding", "finding"),
        description="Questions of the training rows' kind, on facts that no row asks for.",
    ),
    Task(
        name="TinyDBPedia",
        domain="web",
        queries=100,
        templates=(
            "{aspect} {subject} {place} {finding}",
            "{place} {aspect} {subject} {finding}",
        ),
        distractors=("subject", "subject", "subject", "finding", "finding"),
        description="Keywords. 2: the fact itself; 1: the same said of another aspect.",
        partial="aspect",
    ),
    Task(
        name="TinySciFact",
        domain="scientific",
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
        queries=100,
        templates=(
            "{aspect} {subject} {finding} in {place}",
            "{place} {aspect} {subject} {finding}",
        ),
        distractors=("aspect", "subject", "finding", "finding"),
        description="Topics. 2: abstracts on the fact itself; 1: the same of another place.",
        partial="place",
    ),
)

TASKS = {task.name: task for task in _TASKS}


def benchmark() -> dict[str, RetrievalDataset]:
    """The tasks: name to dataset."""
    return {name: _dataset(task) for name, task in TASKS.items()}


def _dataset(task: Task) -> RetrievalDataset:
    domain, draw = DOMAINS[task.domain], Draw("benchmark", task.name)
    facts = domain.facts("benchmark", task.queries, draw)
    queries: list[str] = []
    passages: list[Passage] = []
    for fact in facts:
        wording = Wording.random(draw)
        queries.append(draw.one(task.templates).format(**domain.words(fact, wording)))
        passages += _relevant(task, fact, wording, draw)
        passages += distractors(domain, fact, wording, task.distractors, ANY, draw)
    passages = draw.shuffled(passages)
    prefix = task.name.removeprefix("Tiny").lower()
    judgments = [
        (f"{prefix}-q{number}", f"{prefix}-{position}", grade)
        for number, fact in enumerate(facts)
        for position, passage in enumerate(passages)
        if (grade := _grade(task, fact, passage.about)) is not None
    ]
    notes = {"domain": task.domain, "description": task.description}
    return RetrievalDataset(
        corpus=frame([(f"{prefix}-{i}", p.title, p.text) for i, p in enumerate(passages)], CORPUS),
        queries=frame([(f"{prefix}-q{i}", text) for i, text in enumerate(queries)], QUERIES),
        qrels=frame(judgments, QRELS),
        origin=Origin("tiny", VERSION, LICENCE, task.split, notes),
    ).validate()


def _relevant(task: Task, fact: Fact, wording: Wording, draw: Draw) -> list[Passage]:
    """One or two passages on the fact; in a graded task two, and three that are partly relevant."""
    domain = DOMAINS[task.domain]
    if task.partial is None:
        return [relevant_passage(domain, fact, wording, draw) for _ in range(1 + draw.chance(0.1))]
    others = [domain.changed(fact, task.partial, ANY, draw) for _ in range(3)]
    in_other_words = relevant_passage(domain, fact, wording, draw, never_literal=True)
    return [in_other_words, *(relevant_passage(domain, f, wording, draw) for f in (fact, *others))]


def _grade(task: Task, fact: Fact, about: Fact) -> int | None:
    """Judgment of a passage for the query on a fact, by meaning; None if it is not judged."""
    if task.partial is None:
        return 1 if about == fact else None
    if about == fact:
        return 2
    if fact.shared(about) < len(fact) - 1:
        return None
    return int(getattr(about, task.partial) != getattr(fact, task.partial))
