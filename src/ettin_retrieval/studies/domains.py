"""The two domains that the studies train and score on."""

from __future__ import annotations

from collections.abc import Iterable

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import tiny
from ettin_retrieval.tasks import full_name

WEB, SCIENTIFIC, OTHER = "web", "scientific", "other"
DOMAINS = (WEB, SCIENTIFIC, OTHER)

SCIENTIFIC_TASKS = ["SciFact", "NFCorpus"]
"""mteb tasks whose train judgments are the scientific domain's training data."""

TASKS = {
    # Questions of web users, answered by web pages or Wikipedia: what MS MARCO trains for.
    WEB: {"MSMARCO", "NQ", "HotpotQA", "DBPedia", "QuoraRetrieval"},
    # The tasks that BEIR files under the domains Scientific and Bio-Medical.
    SCIENTIFIC: {*SCIENTIFIC_TASKS, "SCIDOCS", "TRECCOVID"},
}
"""Fact checking, argument retrieval, forums and finance are neither: they stay `other`."""


def domain_of(task: str) -> str:
    """The domain of a task; `other` if neither domain's training data belongs to it.

    >>> [domain_of(name) for name in ("TinySciFact", "HotpotQAHardNegatives", "SCIDOCS", "FEVER")]
    ['scientific', 'web', 'scientific', 'other']
    """
    name = full_name(task)
    if name in tiny.TASKS:
        return tiny.TASKS[name].domain
    name = name.removesuffix("HardNegatives")
    return next((domain for domain, tasks in TASKS.items() if name in tasks), OTHER)


def require_both(tasks: Iterable[str]) -> None:
    """Refuse, before anything is trained, tasks that lack one of the domains.

    Raises
    ------
    InputError
        No task is of the web, or none is scientific.
    """
    scored = {domain_of(task) for task in tasks}
    for domain, known in TASKS.items():
        if domain not in scored:
            raise InputError(
                f"evaluation.tasks: no task of the domain {domain}, on which the study is scored "
                f"too; add one of {', '.join(sorted(known))}"
            )
