"""The words of the tiny world."""

from __future__ import annotations

from ettin_retrieval.sources.tiny.concepts import FINDINGS, PLACES
from ettin_retrieval.sources.tiny.domains import DOMAINS, SCIENTIFIC, WEB
from ettin_retrieval.sources.tiny.passages import NUMBERS, YEARS
from ettin_retrieval.sources.tiny.tasks import TASKS


def lexicon() -> list[str]:
    """Texts with every word of both domains, to make a tokenizer from.

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
