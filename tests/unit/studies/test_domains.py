"""Which tasks belong to the two domains."""

from __future__ import annotations

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.domains import domain_of, require_both
from ettin_retrieval.tasks import ENG_V2_TASKS, GUIDE_TASKS, TINY_TASKS


@pytest.mark.parametrize("tasks", [TINY_TASKS, GUIDE_TASKS, ENG_V2_TASKS])
def test_every_benchmark_has_tasks_of_both_domains(tasks: tuple[str, ...]) -> None:
    require_both(tasks)


def test_the_domains_of_the_guide_s_tasks() -> None:
    of = {name: [t for t in GUIDE_TASKS if domain_of(t) == name] for name in ("web", "scientific")}
    assert of == {
        "web": ["DBPedia", "HotpotQA", "MSMARCO", "NQ", "QuoraRetrieval"],
        "scientific": ["NFCorpus", "SCIDOCS", "SciFact", "TRECCOVID"],
    }


def test_a_domain_without_a_task_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        require_both(["SciFact", "FEVER"])
    assert str(refused.value) == (
        "evaluation.tasks: no task of the domain web, on which the study is scored too; add one of "
        "DBPedia, HotpotQA, MSMARCO, NQ, QuoraRetrieval"
    )
