"""The two domains that the studies train and score on."""

from __future__ import annotations

from ettin_retrieval.sources import tiny
from ettin_retrieval.tasks import full_name

WEB, SCIENTIFIC, OTHER = "web", "scientific", "other"
DOMAINS = (WEB, SCIENTIFIC, OTHER)

SCIENTIFIC_TASKS = ["SciFact", "NFCorpus"]
"""mteb tasks of the scientific domain; their train judgments are its training data."""


def domain_of(task: str) -> str:
    """The domain of a task; `other` if neither domain's training data belongs to it.

    >>> [domain_of(name) for name in ("TinySciFact", "MSMARCO", "NFCorpus", "Quora")]
    ['scientific', 'web', 'scientific', 'other']
    """
    name = full_name(task)
    if name in tiny.TASKS:
        return tiny.TASKS[name].domain
    return WEB if name == "MSMARCO" else SCIENTIFIC if name in SCIENTIFIC_TASKS else OTHER
