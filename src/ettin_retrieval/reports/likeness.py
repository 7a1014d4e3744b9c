"""Whether two scores were measured alike, and in what they were not.

A difference between two systems is of the systems alone if all else is the same. What else there
is, is collected here, once, for pairs, means over seeds, improvements, comparisons and pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ettin_retrieval.ledger.entry import Entry, in_words
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

LEXICAL = "bm25"
"""The model that encodes nothing: it reads whole texts, in no precision."""

DATA = {
    "split": "split",
    "source": "source",
    "revision": "revision",
    "queries": "number of queries",
    "passages": "number of passages",
    "subsampled_from": "subsampling",
    "hit_on_own_id": "hits on the own id",
}
"""Keys of a task's record that say which data was scored, and their names."""

SIMILARITY = {True: "cosine", False: "dot product", None: None}
"""Of normalised embeddings, and of others."""

OF_THE_ENCODER = ("pooling", "similarity", "dimension", "starting encoder")
"""These belong to the encoder: between two models they are part of what is compared."""


class Difference(NamedTuple):
    """One thing that two scores do not share."""

    what: str  # precision, lengths, revision, ...
    task: str  # whose data it is; empty for all tasks of an entry
    values: tuple[str, str]

    @property
    def name(self) -> str:
        """What it is, and of which task.

        >>> Difference("revision", "NQ", ("a", "b")).name
        'revision of NQ'
        """
        return f"{self.what} of {self.task}" if self.task else self.what

    def __str__(self) -> str:
        return f"{self.name} ({' or '.join(self.values)})"


@dataclass(frozen=True)
class Conditions:
    """Under what a score was measured: name and task to value."""

    model: str = ""
    trained: bool = False
    values: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    starts: frozenset[str] = frozenset()  # fingerprints of a base, or of what was fine-tuned


def conditions(
    entry: Entry, tasks: Iterable[str], records: Sequence[Mapping[str, Any]] = ()
) -> Conditions:
    """The conditions of an entry's scores on some tasks, or of their mean.

    Parameters
    ----------
    records
        Of the entry's runs, which say what a fine-tuned checkpoint's training data was kept from.
    """
    weights, trained = entry.weights, entry.checkpoint == "finetuned"
    values: dict[tuple[str, str], Any] = {}
    if entry.model != LEXICAL:
        prompts = {name: text for name, text in (weights.get("prompts") or {}).items() if text}
        values = {
            ("precision", ""): entry.precision,
            ("lengths", ""): in_words(entry.lengths),
            ("prompts", ""): ", ".join(f"{n} {t!r}" for n, t in sorted(prompts.items())) or "none",
            ("pooling", ""): weights.get("pooling"),
            ("similarity", ""): SIMILARITY.get(weights.get("normalize")),
            ("dimension", ""): weights.get("embedding_dimension"),
        }
    if trained:
        values["decontamination", ""] = _decontamination(records)
    for task in tasks:
        parts = cqadupstack_parts(entry.tasks) if task == CQADUPSTACK else []
        of = [entry.tasks.get(name, {}) for name in parts or [task]]
        values |= {(name, task): tuple(data.get(key) for data in of) for key, name in DATA.items()}
    start = weights.get("fingerprint")
    if trained:
        start = weights.get("revision") if weights.get("source") == "finetuned" else None
    return Conditions(entry.model, trained, values, frozenset({start} if start else ()))


def unlike(ours: Conditions, theirs: Conditions) -> list[Difference]:
    """In what two scores differ besides the systems; empty if they are like with like.

    What only one of them has, such as the precision of an encoder beside BM25, is no difference.
    """
    found = []
    for what, task in ours.values.keys() & theirs.values.keys():
        a, b = ours.values[what, task], theirs.values[what, task]
        if a != b and (ours.model == theirs.model or what not in OF_THE_ENCODER):
            found.append(Difference(what, task, _words(a, b)))
    if ours.model == theirs.model and ours.trained != theirs.trained:
        base, tuned = (theirs, ours) if ours.trained else (ours, theirs)
        if not tuned.starts <= base.starts:
            a, b = (", ".join(sorted(each.starts)) for each in (ours, theirs))
            found.append(Difference("starting encoder", "", (a[:12], b[:12])))
    return sorted(found, key=lambda each: (each.task, each.what))


def in_common(several: Sequence[Conditions]) -> Conditions:
    """The conditions of a mean over seeds that were measured alike."""
    return replace(several[0], starts=frozenset().union(*(each.starts for each in several)))


def _words(a: Any, b: Any) -> tuple[str, str]:
    """Two values; of tuples, by part of a task, the first that differ."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        a, b = next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (len(a), len(b)))
    known = ["unknown" if each is None else str(each) for each in (a, b)]
    return known[0], known[1]


def _decontamination(records: Sequence[Mapping[str, Any]]) -> str:
    """What training data was kept from: the setting, and the digest of the held-out list."""
    data: Mapping[str, Any] = next(
        (r["training_data"] for r in records if r.get("training_data")), {}
    )
    notes = data.get("notes") or {}
    setting = notes.get("decontaminate")
    if setting is None:
        settings = [(r.get("settings") or {}).get("data") or {} for r in records]
        setting = next((each.get("decontaminate") for each in settings), None)
    words = "unknown" if setting is None else str(setting).lower()
    return f"{words}, list {notes['heldout']}" if notes.get("heldout") else words
