"""Which tasks a tier has, and when a benchmark has an average."""

from __future__ import annotations

import mteb
import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    AVERAGE_OWN,
    CQADUPSTACK_PARTS,
    ENG_V2_TASKS,
    GUIDE_TASKS,
    METRICS,
    TINY_TASKS,
    expand,
    flat_metrics,
    mteb_names,
    mteb_task,
    split_of,
)

GAMING, UNIX = "CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval"


def flat(names: list[str], own: bool = False, score: float = 0.5) -> dict[str, float]:
    return flat_metrics({name: dict.fromkeys(METRICS, score) for name in names}, own=own)


def test_the_ten_tasks_are_those_of_mtebs_benchmark() -> None:
    tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
    retrieval = {t.metadata.name: t for t in tasks if t.metadata.type == "Retrieval"}
    assert set(ENG_V2_TASKS) == set(retrieval)
    assert {tuple(t.metadata.eval_splits) for t in retrieval.values()} == {("test",)}
    assert set(expand(["CQADupstackRetrieval"])) == CQADUPSTACK_PARTS
    assert expand(ENG_V2_TASKS) == list(ENG_V2_TASKS)


def test_only_a_complete_benchmark_has_an_average() -> None:
    assert AVERAGE not in flat(["TinySciFact"])
    assert flat(list(TINY_TASKS))[AVERAGE] == 0.5
    assert AVERAGE not in flat(expand(GUIDE_TASKS[1:]))
    assert flat(expand(GUIDE_TASKS))[AVERAGE] == 0.5
    paper = flat(mteb_names("paper"))
    assert [key for key in paper if key.endswith("avg_ndcg_at_10")] == [AVERAGE_ENG_V2]
    assert "MSMARCO.ndcg_at_10" in paper and split_of("MSMARCO") == "dev"
    assert AVERAGE_ENG_V2 not in flat(list(ENG_V2_TASKS[1:]))


@pytest.mark.parametrize(
    ("names", "own", "average"),
    [
        (["Contracts", "Manuals"], True, AVERAGE_OWN),
        (["Contracts", "Manuals"], False, None),
        (["Contracts", "Manuals-subsampled-100"], True, None),
        (["SciFact-subsampled-100"], True, None),
        (["Contracts", "SciFact"], True, None),
        (["SciFact", "NFCorpus"], True, None),
        (["FEVER", "FEVERHardNegatives"], True, None),
        ([*sorted(CQADUPSTACK_PARTS), "Contracts"], True, None),
        ([GAMING, UNIX], True, None),
        (list(TINY_TASKS), True, AVERAGE),
    ],
)
def test_the_average_of_a_users_own_collections(
    names: list[str], own: bool, average: str | None
) -> None:
    assert [key for key in flat(names, own) if "." not in key] == ([average] if average else [])


def test_cqadupstack_is_the_mean_of_its_twelve_parts() -> None:
    scores = {name: dict.fromkeys(METRICS, 0.2) for name in expand(GUIDE_TASKS)}
    scores["CQADupstackTexRetrieval"] = dict.fromkeys(METRICS, 0.8)
    folded = flat_metrics(scores)
    assert folded["CQADupstackRetrieval.ndcg_at_10"] == pytest.approx((11 * 0.2 + 0.8) / 12)
    assert folded[AVERAGE] == pytest.approx((14 * 0.2 + 0.25) / 15)
    assert not any(key.startswith("CQADupstackTex") for key in folded)
    del scores["CQADupstackTexRetrieval"]
    parts = flat_metrics(scores)
    assert "CQADupstackRetrieval.ndcg_at_10" not in parts
    assert parts[f"{UNIX}.ndcg_at_10"] == 0.2


def test_the_two_benchmarks_have_different_averages() -> None:
    ten = flat(list(ENG_V2_TASKS))
    assert ten[AVERAGE_ENG_V2] == 0.5
    assert AVERAGE not in ten
    assert {f"{GAMING}.ndcg_at_10", f"{UNIX}.ndcg_at_10"} <= ten.keys()
    both = flat(list(dict.fromkeys([*expand(GUIDE_TASKS), *ENG_V2_TASKS])))
    assert {AVERAGE, AVERAGE_ENG_V2, "CQADupstackRetrieval.ndcg_at_10"} <= both.keys()
    assert f"{GAMING}.ndcg_at_10" in both


def test_split_of_tasks_within_and_outside_the_tiers() -> None:
    assert split_of("MSMARCO") == "dev"
    assert {split_of(name) for name in ENG_V2_TASKS} == {"test"}
    assert split_of("NanoSciFactRetrieval") == "train"
    assert split_of("BrightBiologyRetrieval") == "standard"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BrightRetrieval", "BrightRetrieval has several subsets"),
        ("MIRACLRetrieval", "MIRACLRetrieval is in ara, ben, "),
        ("SciFact-PL", "SciFact-PL is in pol"),
        ("LEMBNeedleRetrieval", "LEMBNeedleRetrieval has the splits test_256, test_512, "),
        ("Banking77Classification", "is a Classification task"),
        ("SciFakt", "unknown task 'SciFakt'; did you mean SciFact"),
    ],
)
def test_a_task_that_cannot_be_scored_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        mteb_task(name)
    assert message in str(refused.value)
