"""Notes under the guide's tables: where the references contradict each other or public evidence.

Every statement is derived from the data in `expected/`, so that a changed figure changes the note.
"""

from __future__ import annotations

from ettin_retrieval.reports.documents import points, signed
from ettin_retrieval.reports.references import Expected, References
from ettin_retrieval.reports.view import METRIC_NAMES, NOT_RUN, SIZES

V1, V2 = "MTEB(eng, v1)", "MTEB(eng, v2)"

Scores = dict[tuple[str, str, str, str], Expected]
"""Model, checkpoint, task and metric to the expected score."""


def guide_notes(references: References) -> tuple[str, ...]:
    """What to know when comparing."""
    return (
        "Scores are in points (x100). A verdict is two-sided: reproduced means that the measured "
        "score is within the expected value's tolerance (guide.csv lists it), above and below "
        f"that it is not, {NOT_RUN} that the ledger has no such score. An average needs every one "
        "of its tasks. The guide's columns judge checkpoints of recipe guide, the paper's those of "
        "recipe paper. Over several seeds a score is the mean ± standard deviation.",
        _averages(references),
        "MSMARCO is scored on `dev`, as MTEB does. The guide's code uses `test`, which has 43 "
        "queries; a score on it is not compared.",
        _improvements(references),
        *_coincidences(references),
        _above_bm25(references),
        *_above_the_best_published(references),
        "Before any contrastive training ettin-encoder-68m scores about 10 nDCG@10 on NanoBEIR, "
        "according to the model card of capemox/ettin-encoder-68m-contrastive-2.5m. NanoBEIR is "
        "another benchmark, of 13 small collections: no figure of the tables here is of it.",
        "Neither the guide nor the paper gives a tolerance; those here are this repository's "
        "choice. The paper's MSMARCO scores are read off a plot (about 0.3 either way).",
    )


def _by_key(values: tuple[Expected, ...]) -> Scores:
    return {(v.key.model, v.key.checkpoint, v.key.task, v.key.metric): v for v in values}


def _averages(references: References) -> str:
    sizes = {name: len(references.benchmarks[name]) for name in (V1, V2)}
    shared = sorted(set(references.benchmarks[V1]) & set(references.benchmarks[V2]))
    guide, paper = _by_key(references.guide), _by_key(references.paper)
    pairs = [
        f"{model} {points(g.value)} and {points(p.value)}"
        for model in SIZES
        if (g := guide.get((model, "finetuned", V1, "ndcg_at_10")))
        and (p := paper.get((model, "finetuned", V2, "ndcg_at_10")))
    ]
    return (
        f"The guide's average is over the {sizes[V1]} retrieval tasks of {V1} (BEIR), the paper's "
        f"over the {sizes[V2]} of {V2}; {len(shared)} are in both ({', '.join(shared)}). The two "
        "are different quantities and are not compared. After fine-tuning, guide and paper: "
        f"{'; '.join(pairs)}."
    )


def _improvements(references: References) -> str:
    """Whether the improvements that the guide prints follow from its two tables."""
    guide = _by_key(references.guide)
    printed = [value for value in references.guide if value.improvement is not None]
    wrong = []
    for after in printed:
        key, improvement = after.key, signed(after.improvement or 0)
        before = guide.get((key.model, "base", key.task, key.metric))
        difference = signed(after.value - before.value) if before else "no base value"
        if difference != improvement:
            wrong.append(f"{key.model} {key.task}: printed {improvement}, tables give {difference}")
    if wrong:
        return f"Improvements that the guide prints and its tables contradict: {'; '.join(wrong)}."
    return (
        f"All {len(printed)} improvements that the guide prints equal the difference of its two "
        "tables."
    )


def _coincidences(references: References) -> list[str]:
    """Base averages of the guide that equal averages of the paper after MS MARCO training."""
    notes = []
    for base in references.guide:
        if (base.key.checkpoint, base.key.task) != ("base", V1):
            continue
        averages = [p for p in references.paper if p.key.task == V2]
        same = [p.key.model for p in averages if p.value == base.value]
        if same:
            notes.append(
                f"The guide's average for {base.key.model} before fine-tuning, "
                f"{points(base.value)}, is what the paper reports for {' and '.join(same)} after "
                f"MS MARCO training, on {V2}."
            )
    return notes


def _higher(references: References, checkpoint: str, than: Expected) -> list[str]:
    """Figures of the guide above a score on the same task and metric."""
    return [
        f"{v.key.model} {points(v.value)}"
        for v in references.guide
        if (v.key.checkpoint, v.key.task, v.key.metric)
        == (checkpoint, than.key.task, than.key.metric)
        and v.value > than.value
    ]


def _above_bm25(references: References) -> str:
    found = []
    for bm25 in references.published:
        above = _higher(references, "base", bm25) if "bm25" in bm25.key.model else []
        if above:
            name = f"{bm25.key.task} {METRIC_NAMES[bm25.key.metric]}"
            found.append(f"{name} {bm25.value * 100:.2f} (above it: {', '.join(above)})")
    return (
        "BM25's published scores, and the guide's figures before fine-tuning that are above them: "
        f"{'; '.join(found) or 'none'}. A row bm25, if there is one, was measured here; BM25 is "
        "not trained and is the same in both tables."
    )


def _above_the_best_published(references: References) -> list[str]:
    notes = []
    for task in ("NFCorpus", "SciFact"):
        rows = [
            v for v in references.published if (v.key.task, v.key.metric) == (task, "ndcg_at_10")
        ]
        if not rows:
            continue
        best = max(rows, key=lambda v: v.value)
        above = _higher(references, "finetuned", best)
        if above:
            notes.append(
                f"The best {task} nDCG@10 among the published rows is {points(best.value)} "
                f"({best.key.model}); the guide's figures after fine-tuning that are above it: "
                f"{', '.join(above)}."
            )
    return notes
