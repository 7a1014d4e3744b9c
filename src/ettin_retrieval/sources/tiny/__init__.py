"""The offline world: a small generated collection in which retrieval can be learnt."""

from ettin_retrieval.sources.tiny.generator import (
    LICENCE,
    TASKS,
    VERSION,
    DomainName,
    benchmark,
    lexicon,
    teacher_scores,
    training_rows,
)

__all__ = [
    "LICENCE",
    "TASKS",
    "VERSION",
    "DomainName",
    "benchmark",
    "lexicon",
    "teacher_scores",
    "training_rows",
]
