"""The generated collection: reproducible, unsolvable by matching words, fair to its benchmark."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from ettin_retrieval.base_encoder.tokenizer import train_tokenizer
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.sources.tiny import generator as synthetic
from ettin_retrieval.sources.tiny.concepts import (
    FINDINGS,
    GENERAL_ASPECTS,
    SCIENTIFIC_ASPECTS,
    SCIENTIFIC_SUBJECTS,
    WEB_ASPECTS,
    WEB_SUBJECTS,
)

BENCHMARK = synthetic.benchmark()
ROWS = {domain: synthetic.training_rows(domain) for domain in synthetic.DOMAINS}
FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        "a about after against around at behind by did for from how in is it know not of on over "
        "says that the to towards true was we what who with year",
    )
)

DIGESTS = """
import hashlib, json, sys
from ettin_retrieval.sources import synthetic
from ettin_retrieval.tokenizer import train_tokenizer

texts = {d: synthetic.training_rows(d) for d in synthetic.DOMAINS}
texts["benchmark"] = {
    name: [getattr(d, f).to_dict("records") for f in ("corpus", "queries", "qrels")]
    for name, d in synthetic.benchmark().items()
}
tokenizer = train_tokenizer(synthetic.lexicon(), 2048).backend_tokenizer.to_str()
for content in (json.dumps(texts), tokenizer):
    print(hashlib.sha256(content.encode()).hexdigest())
"""


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - FUNCTION_WORDS


@pytest.fixture(params=sorted(BENCHMARK))
def task(request: pytest.FixtureRequest) -> tuple[synthetic.Task, RetrievalDataset]:
    return synthetic.TASKS[request.param], BENCHMARK[request.param]


def test_other_processes_generate_the_same_bytes() -> None:
    digests = set()
    for hash_seed, threads in (("1", "1"), ("2", "4")):
        environment = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "true",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        result = subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(result.stdout)
    texts = {domain: ROWS[domain] for domain in synthetic.DOMAINS}
    content = json.dumps(
        texts | {"benchmark": {name: _records(d) for name, d in BENCHMARK.items()}}
    )
    tokenizer = train_tokenizer(synthetic.lexicon(), 2048).backend_tokenizer.to_str()
    digests.add(
        "".join(f"{hashlib.sha256(t.encode()).hexdigest()}\n" for t in (content, tokenizer))
    )
    assert len(digests) == 1


def _records(dataset: RetrievalDataset) -> list[list[dict[str, object]]]:
    return [getattr(dataset, f).to_dict("records") for f in ("corpus", "queries", "qrels")]


@pytest.mark.parametrize("domain", ["web", "scientific"])
def test_rows_have_the_schema_of_ms_marco(domain: synthetic.DomainName) -> None:
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
            selected = [
                text
                for text, chosen in zip(
                    passages["passage_text"], passages["is_selected"], strict=True
                )
                if chosen
            ]
            assert len(selected) in {1, 2}
            # The answer is said in a selected passage, in so many words.
            aspect_to_finding = content_words(row["answers"][0])
            assert any(aspect_to_finding <= content_words(text) for text in selected)


def test_most_rows_have_one_selected_passage_and_some_two() -> None:
    selected = Counter(sum(r["passages"]["is_selected"]) for r in ROWS["web"]["train"])
    assert selected[1] > 0.8 * selected.total() > selected[2] > 0


def test_unselected_passages_are_near_the_query() -> None:
    """Most name the query's subject, in some wording, or its place."""
    near = total = 0
    for row in ROWS["web"]["train"]:
        wordings = [
            forms
            for forms in WEB_SUBJECTS
            if any(re.search(rf"\b{form}\b", row["query"]) for form in forms)
        ]
        names = [form for forms in wordings for form in forms]
        names += re.findall(r"\bin ([A-Z]\w+ [A-Z]\w+)", row["query"])
        texts = row["passages"]["passage_text"]
        near += sum(any(name in text for name in names) for text in texts)
        total += len(texts)
    assert near > 0.99 * total


def test_queries_are_asked_once_and_never_in_the_benchmark() -> None:
    training = [r["query"] for rows in ROWS.values() for part in rows.values() for r in part]
    tests = [text for d in BENCHMARK.values() for text in d.queries["text"]]
    asked = Counter(" ".join(sorted(content_words(text))) for text in training + tests)
    # By content words, so that the same fact in the same words counts under any template.
    assert [words for words, count in asked.items() if count > 1] == []


def test_no_fact_of_the_benchmark_is_asked_in_training() -> None:
    residues = {part: set(values) for part, values in synthetic.ASKED_IN.items()}
    assert not residues["benchmark"] & (residues["train"] | residues["dev"])
    assert not residues["train"] & residues["dev"]


def test_no_benchmark_passage_is_a_training_passage() -> None:
    training = {
        text
        for rows in ROWS.values()
        for part in rows.values()
        for row in part
        for text in row["passages"]["passage_text"]
    }
    assert not training & {text for d in BENCHMARK.values() for text in d.corpus["text"]}


def test_words_of_the_query_lead_to_a_distractor(
    task: tuple[synthetic.Task, RetrievalDataset],
) -> None:
    """Some passage that is not relevant shares more words with a query than what answers it."""
    _, dataset = task
    corpus = {
        i: content_words(t)
        for i, t in zip(dataset.corpus["id"], dataset.passage_texts(), strict=True)
    }
    relevant = dataset.positives()
    for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
        asked = content_words(text)
        grades = relevant[query_id]
        answers = [len(asked & corpus[i]) for i, g in grades.items() if g == max(grades.values())]
        others = [len(asked & words) for i, words in corpus.items() if i not in grades]
        assert max(others) >= max(answers)
        assert max(others) > sum(answers) / len(answers)


def test_graded_tasks_have_all_three_grades(
    task: tuple[synthetic.Task, RetrievalDataset],
) -> None:
    table, dataset = task
    assert set(dataset.qrels["score"]) == ({0, 1, 2} if table.graded else {1})
    best = {q: max(grades.values()) for q, grades in dataset.positives().items()}
    assert set(best) == set(dataset.queries["id"])
    assert set(best.values()) == {2 if table.graded else 1}


def test_tasks_are_what_their_table_says(task: tuple[synthetic.Task, RetrievalDataset]) -> None:
    table, dataset = task
    assert dataset.origin.split == table.split
    assert dataset.origin.notes == {"domain": table.domain, "description": table.description}
    assert len(dataset.queries) == table.queries
    assert 500 <= len(dataset.corpus) <= 2000
    assert (dataset.corpus["title"] != "").all() == (table.domain == "scientific")


def test_four_tasks_in_two_domains() -> None:
    assert {(t.name, t.domain, t.split, t.graded) for t in synthetic.TASKS.values()} == {
        ("TinyMSMARCO", "web", "dev", False),
        ("TinyDBPedia", "web", "test", True),
        ("TinySciFact", "scientific", "test", False),
        ("TinyNFCorpus", "scientific", "test", True),
    }


@pytest.mark.parametrize(
    "table",
    [FINDINGS, GENERAL_ASPECTS, WEB_ASPECTS, SCIENTIFIC_ASPECTS, WEB_SUBJECTS, SCIENTIFIC_SUBJECTS],
)
def test_wordings_of_a_concept_share_no_word(table: tuple[tuple[str, ...], ...]) -> None:
    for forms in table:
        assert len(forms) == synthetic.FORMS
        words = [word for form in forms for word in content_words(form)]
        assert len(words) == len(set(words)), forms
    names = [form for forms in table for form in forms]
    assert len(names) == len(set(names))


def test_subjects_are_of_one_domain_only() -> None:
    web = {form for forms in WEB_SUBJECTS for form in forms}
    scientific = {form for forms in SCIENTIFIC_SUBJECTS for form in forms}
    assert not web & scientific


def test_lexicon_holds_every_word() -> None:
    texts = [t for d in BENCHMARK.values() for t in [*d.passage_texts(), *d.queries["text"]]]
    for rows in ROWS.values():
        for row in rows["train"]:
            texts += [row["query"], *row["passages"]["passage_text"]]
    tokenizer = train_tokenizer(synthetic.lexicon(), 2048)
    pieces = {piece for text in set(texts) for piece in tokenizer.tokenize(text)}
    assert not [piece for piece in pieces if piece.startswith("##") or piece == "[UNK]"]


def test_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    texts = synthetic.lexicon()
    forwards, backwards = (train_tokenizer(t, 300) for t in (texts, texts[::-1]))
    assert forwards.backend_tokenizer.to_str() == backwards.backend_tokenizer.to_str()
    assert len(forwards) == 300


def test_unseen_words_are_spelt() -> None:
    tokenizer = train_tokenizer(["sofas cost less", "a b c d e f"], 64)
    assert tokenizer.tokenize("Sofas cede") == ["sofas", "c", "##e", "##d", "##e"]
    with pytest.raises(ValueError, match="vocabulary 10 is too small"):
        train_tokenizer(["sofas"], 10)
