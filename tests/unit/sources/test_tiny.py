"""The tiny world: unsolvable by matching words, and fair to its benchmark."""

from __future__ import annotations

import re
from collections import Counter
from typing import get_args

import pytest

from ettin_retrieval.base_encoder.random_weights import train_tokenizer
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.tiny.tasks import Task
from ettin_retrieval.sources.tiny.world import (
    ANY,
    FORMS,
    NOT_QUERIED,
    RESIDUES,
    Draw,
    Slot,
    Wording,
    concepts,
)
from ettin_retrieval.tasks import TINY_TASKS

DOMAINS: tuple[tiny.DomainName, ...] = get_args(tiny.DomainName)
BENCHMARK = tiny.benchmark()
ROWS = {domain: tiny.training_rows(domain) for domain in DOMAINS}
FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        "a about after against around at behind by did for from how in is it know not of on over "
        "says that the to towards true was we what who with year",
    )
)


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - FUNCTION_WORDS


@pytest.fixture(params=sorted(BENCHMARK))
def task(request: pytest.FixtureRequest) -> tuple[Task, RetrievalDataset]:
    return tiny.TASKS[request.param], BENCHMARK[request.param]


def test_the_tasks_are_those_that_averages_know() -> None:
    assert sorted(tiny.TASKS) == sorted(TINY_TASKS)
    assert {(t.name, t.domain, t.split, t.partial) for t in tiny.TASKS.values()} == {
        ("TinyMSMARCO", "web", "dev", None),
        ("TinyDBPedia", "web", "test", "aspect"),
        ("TinySciFact", "scientific", "test", None),
        ("TinyNFCorpus", "scientific", "test", "place"),
    }


def test_tasks_are_what_their_table_says(task: tuple[Task, RetrievalDataset]) -> None:
    table, dataset = task
    assert dataset.origin.split == table.split
    assert dataset.origin.notes == {"domain": table.domain, "description": table.description}
    assert len(dataset.queries) == table.queries
    assert 500 <= len(dataset.corpus) <= 2000
    assert (dataset.corpus["title"] != "").all() == (table.domain == "scientific")


def test_graded_tasks_have_all_three_grades(task: tuple[Task, RetrievalDataset]) -> None:
    table, dataset = task
    graded = table.partial is not None
    assert set(dataset.qrels["score"]) == ({0, 1, 2} if graded else {1})
    best = {q: max(grades.values()) for q, grades in dataset.positives().items()}
    assert set(best) == set(dataset.queries["id"])
    assert set(best.values()) == {2 if graded else 1}


def test_words_of_the_query_lead_to_a_distractor(task: tuple[Task, RetrievalDataset]) -> None:
    """A passage that is not relevant shares at least as many words with a query as any answer."""
    _, dataset = task
    passages = zip(dataset.corpus["id"], dataset.passage_texts(), strict=True)
    corpus = {corpus_id: content_words(text) for corpus_id, text in passages}
    relevant = dataset.positives()
    for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
        query = content_words(text)
        grades = relevant[query_id]
        answers = [len(query & corpus[i]) for i, g in grades.items() if g == max(grades.values())]
        others = max(len(query & words) for i, words in corpus.items() if i not in grades)
        assert others >= max(answers)
        assert others > sum(answers) / len(answers)


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_have_the_schema_of_ms_marco(domain: tiny.DomainName) -> None:
    for rows in ROWS[domain].values():
        assert [row["query_id"] for row in rows] == list(range(len(rows)))
        for row in rows:
            assert list(row) == [
                "query", "query_id", "query_type", "answers", "wellFormedAnswers", "passages",
            ]  # fmt: skip
            passages = row["passages"]
            assert list(passages) == ["is_selected", "passage_text", "url"]
            assert {len(column) for column in passages.values()} == {10}
            assert row["query_type"] in {"description", "numeric"}
            pairs = zip(passages["passage_text"], passages["is_selected"], strict=True)
            selected = [text for text, is_selected in pairs if is_selected]
            assert len(selected) in {1, 2}
            # A selected passage has every word of the answer.
            answer = content_words(row["answers"][0])
            assert any(answer <= content_words(text) for text in selected)


def test_most_rows_have_one_selected_passage_and_some_two() -> None:
    selected = Counter(sum(r["passages"]["is_selected"]) for r in ROWS["web"]["train"])
    assert selected[1] > 0.8 * selected.total() > selected[2] > 0


def test_passages_of_a_row_are_near_the_query() -> None:
    """Almost all name the query's subject, in some wording, or its place."""
    near = total = 0
    for row in ROWS["web"]["train"]:
        query = row["query"]
        subjects = [
            c for c in tiny.DOMAINS["web"].subjects if any(re.search(rf"\b{w}\b", query) for w in c)
        ]
        names = [wording for concept in subjects for wording in concept]
        names += re.findall(r"\bin ([A-Z]\w+ [A-Z]\w+)", query)
        texts = row["passages"]["passage_text"]
        near += sum(any(name in text for name in names) for text in texts)
        total += len(texts)
    assert near > 0.99 * total


@pytest.mark.parametrize("domain", DOMAINS)
def test_passages_on_a_fact_avoid_the_query_s_words_and_distractors_repeat_them(
    domain: tiny.DomainName,
) -> None:
    world, draw = tiny.DOMAINS[domain], Draw("test", domain)
    for fact in world.facts("train", 50, draw):
        wording = Wording.random(draw)
        words = world.words(fact, wording)
        relevant = world.relevant(fact, wording, draw)
        assert relevant.about == fact
        assert words["place"] in relevant.text
        assert f" {words['aspect']} " not in relevant.text
        assert f" {words['finding']}" not in relevant.text
        slots: tuple[Slot, ...] = ("aspect", "subject", "finding")
        for slot in slots:
            passage = world.distractor(fact, wording, slot, NOT_QUERIED, draw)
            assert passage.about.residue in NOT_QUERIED
            assert fact.shared(passage.about) == 3
            assert getattr(passage.about, slot) != getattr(fact, slot)
            assert all(word in passage.text for name, word in words.items() if name != slot)


def test_queries_are_unique_and_training_queries_are_not_in_the_benchmark() -> None:
    training = [r["query"] for rows in ROWS.values() for part in rows.values() for r in part]
    tests = [text for d in BENCHMARK.values() for text in d.queries["text"]]
    # By content words, so that the same fact in the same words counts under any template.
    count = Counter(" ".join(sorted(content_words(text))) for text in training + tests)
    assert [words for words, number in count.items() if number > 1] == []


def test_no_two_parts_have_queries_about_the_same_fact() -> None:
    residues = [*(r for part in RESIDUES.values() for r in part), *NOT_QUERIED]
    assert sorted(residues) == list(ANY)


def test_no_benchmark_passage_is_a_training_passage() -> None:
    training = {
        text
        for rows in ROWS.values()
        for part in rows.values()
        for row in part
        for text in row["passages"]["passage_text"]
    }
    assert not training & {text for d in BENCHMARK.values() for text in d.corpus["text"]}


@pytest.mark.parametrize(
    "table",
    ["finding", "general aspect", "web aspect", "scientific aspect", "web subject",
     "scientific subject"],
)  # fmt: skip
def test_wordings_of_a_concept_share_no_word(table: str) -> None:
    assert concepts(table)
    for concept in concepts(table):
        assert len(concept) == FORMS
        words = [word for wording in concept for word in content_words(wording)]
        assert len(words) == len(set(words)), concept
    wordings = [wording for concept in concepts(table) for wording in concept]
    assert len(wordings) == len(set(wordings))


def test_subjects_belong_to_one_domain() -> None:
    web, scientific = (
        {wording for concept in tiny.DOMAINS[name].subjects for wording in concept}
        for name in DOMAINS
    )
    assert not web & scientific


def test_the_lexicon_has_every_word() -> None:
    texts = [t for d in BENCHMARK.values() for t in [*d.passage_texts(), *d.queries["text"]]]
    for rows in ROWS.values():
        for row in rows["train"]:
            texts += [row["query"], *row["passages"]["passage_text"]]
    tokenizer = train_tokenizer(tiny.lexicon(), 2048)
    pieces = {piece for text in set(texts) for piece in tokenizer.tokenize(text)}
    assert not [piece for piece in pieces if piece.startswith("##") or piece == "[UNK]"]
