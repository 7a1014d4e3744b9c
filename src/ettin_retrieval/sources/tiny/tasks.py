"""The tasks of the tiny world and their datasets."""

from __future__ import annotations

from dataclasses import dataclass

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.sources.tiny.world import (
    ANY,
    DOMAINS,
    QUESTIONS,
    VERSION,
    DomainName,
    Draw,
    Fact,
    Slot,
    texts,
)

LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Task:
    """A retrieval task."""

    name: str
    domain: DomainName
    queries: int
    """Number of queries."""
    templates: tuple[str, ...]
    """Of the queries."""
    distractors: tuple[Slot, ...]
    """The slot that each of a query's distractors changes."""
    description: str
    split: str = "test"
    partial: Slot | None = None
    """Passages that differ from the query in this slot alone are partly relevant: they get grade
    1, the fact itself grade 2, and other passages that differ in one slot are judged 0. Without
    it, only the fact itself is judged, with grade 1."""


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
        templates=texts("keywords"),
        distractors=("subject", "subject", "subject", "finding", "finding"),
        description="Keywords. 2: the fact itself; 1: the same said of another aspect.",
        partial="aspect",
    ),
    Task(
        name="TinySciFact",
        domain="scientific",
        queries=150,
        templates=texts("claim"),
        distractors=("aspect", "aspect", "subject", "finding", "finding", "finding"),
        description="Claims on health conditions; relevant is the abstract that supports it.",
    ),
    Task(
        name="TinyNFCorpus",
        domain="scientific",
        queries=100,
        templates=texts("topic"),
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
    queries = [
        domain.query(fact, task.templates, task.distractors, ANY, draw, task.partial)
        for fact in domain.facts("benchmark", task.queries, draw)
    ]
    passages = [passage for query in queries for passage in query.passages]
    passages = draw.several(passages, len(passages))
    prefix = task.name.removeprefix("Tiny").lower()
    judgments = [
        (f"{prefix}-q{number}", f"{prefix}-{position}", grade)
        for number, query in enumerate(queries)
        for position, passage in enumerate(passages)
        if (grade := _grade(task, query.fact, passage.about)) is not None
    ]
    notes = {"domain": task.domain, "description": task.description}
    return RetrievalDataset(
        corpus=frame([(f"{prefix}-{i}", p.title, p.text) for i, p in enumerate(passages)], CORPUS),
        queries=frame([(f"{prefix}-q{i}", query.text) for i, query in enumerate(queries)], QUERIES),
        qrels=frame(judgments, QRELS),
        origin=Origin("tiny", VERSION, LICENCE, task.split, notes),
    ).validate()


def _grade(task: Task, fact: Fact, about: Fact) -> int | None:
    """Judgment of a passage for the query on a fact, by meaning; None if it is not judged."""
    if about == fact:
        return 1 if task.partial is None else 2
    if task.partial is None or fact.shared(about) < len(fact) - 1:
        return None
    return int(getattr(about, task.partial) != getattr(fact, task.partial))
