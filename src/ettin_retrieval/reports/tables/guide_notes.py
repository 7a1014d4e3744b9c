"""Where the references contradict each other or public evidence: facts under the guide's tables."""

from __future__ import annotations

from collections.abc import Iterable

from ettin_retrieval.reports.documents import points, signed
from ettin_retrieval.reports.references import Expected, References

SIZES = ("tiny", "17m", "32m", "68m", "150m", "400m", "1b")
"""Models in order of size; any other follows, by name."""

V1, V2 = "MTEB(eng, v1)", "MTEB(eng, v2)"

GUIDE_COLUMNS: tuple[tuple[str, str, str | None, str], ...] = (
    ("MTEB Avg nDCG@10", V1, None, "ndcg_at_10"),
    ("MSMARCO MRR@10", "MSMARCO", "dev", "mrr_at_10"),
    ("NFCorpus nDCG@10", "NFCorpus", "test", "ndcg_at_10"),
    ("SciFact nDCG@10", "SciFact", "test", "ndcg_at_10"),
)

PAPER_COLUMNS: tuple[tuple[str, str, str | None, str], ...] = (
    ("Paper: MTEB v2 Avg nDCG@10", V2, None, "ndcg_at_10"),
    ("Paper: MSMARCO nDCG@10", "MSMARCO", "dev", "ndcg_at_10"),
)

METRIC_NAMES = {
    "ndcg_at_10": "nDCG@10",
    "mrr_at_10": "MRR@10",
    "recall_at_100": "Recall@100",
    "map_at_100": "MAP@100",
}

NOT_RUN = "not run"


def guide_notes(references: References) -> tuple[str, ...]:
    """What to know when comparing: where references disagree with each other or with evidence."""
    return (
        "Scores are in points (x100). A verdict is two-sided: reproduced means that the measured "
        "score is within the expected value's tolerance (guide.csv gives it), above and below "
        f"that it is not, {NOT_RUN} that the ledger has no such score. An average needs every one "
        "of its tasks. The guide's columns judge checkpoints of recipe guide, the paper's those of "
        "recipe paper. Over several seeds a score is the mean ± standard deviation.",
        _average_note(references),
        "MSMARCO is scored on `dev`, as MTEB does. The guide's code asks for `test`, which "
        "has 43 queries; a score on it is not compared.",
        _arithmetic_note(references),
        *_coincidence_notes(references),
        _bm25_note(references),
        *_ceiling_notes(references),
        "Before any contrastive training ettin-encoder-68m scores about 10 nDCG@10 on NanoBEIR, by "
        "the model card of capemox/ettin-encoder-68m-contrastive-2.5m. NanoBEIR is another "
        "benchmark, of 13 small collections: no figure of the tables here is of it.",
        "Neither the guide nor the paper gives a tolerance; those here are this repository's "
        "choice. The paper's MSMARCO scores are read off a plot (about 0.3 either way).",
    )


def _average_note(references: References) -> str:
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


def _arithmetic_note(references: References) -> str:
    """Whether the improvements that the guide prints follow from its own two tables."""
    guide = _by_key(references.guide)
    printed = [value for value in references.guide if value.improvement is not None]
    wrong = []
    for after in printed:
        before = guide.get((after.model, "base", after.task, after.metric))
        if before is None or signed(after.value - before.value) != signed(after.improvement or 0):
            difference = signed(after.value - before.value) if before else "no base value"
            wrong.append(
                f"{after.model} {after.task}: printed {signed(after.improvement or 0)}, "
                f"tables give {difference}"
            )
    if wrong:
        return f"Improvements that the guide prints and its tables contradict: {'; '.join(wrong)}."
    return (
        f"All {len(printed)} improvements that the guide prints equal the difference of its two "
        "tables."
    )


def _coincidence_notes(references: References) -> list[str]:
    """Base averages of the guide that are the paper's averages after MS MARCO training."""
    notes = []
    for base in references.guide:
        if (base.checkpoint, base.task) != ("base", V1):
            continue
        same = [p.model for p in references.paper if p.task == V2 and p.value == base.value]
        if same:
            notes.append(
                f"The guide's average for {base.model} before fine-tuning, {points(base.value)}, "
                f"is what the paper reports for {' and '.join(same)} after MS MARCO training, on "
                f"{V2}."
            )
    return notes


def _bm25_note(references: References) -> str:
    """Base scores of the guide that are above BM25's."""
    found = []
    for bm25 in references.published:
        if "bm25" not in bm25.model:
            continue
        above = [
            f"{v.model} {points(v.value)}"
            for v in references.guide
            if (v.checkpoint, v.task, v.metric) == ("base", bm25.task, bm25.metric)
            and v.value > bm25.value
        ]
        if above:
            name = f"{bm25.task} {METRIC_NAMES[bm25.metric]}"
            found.append(f"{name} {bm25.value * 100:.2f} (above it: {', '.join(above)})")
    return (
        "BM25's published scores, and the guide's figures before fine-tuning that are above them: "
        f"{'; '.join(found) or 'none'}. A row bm25, where there is one, was measured here; "
        "nothing of it is trained, and it is the same in both tables."
    )


def _ceiling_notes(references: References) -> list[str]:
    """Fine-tuned scores of the guide that are above every published row here."""
    notes = []
    for _, task, _, metric in GUIDE_COLUMNS[2:]:
        rows = [v for v in references.published if (v.task, v.metric) == (task, metric)]
        if not rows:
            continue
        best = max(rows, key=lambda v: v.value)
        above = [
            f"{v.model} {points(v.value)}"
            for v in references.guide
            if (v.checkpoint, v.task, v.metric) == ("finetuned", task, metric)
            and v.value > best.value
        ]
        if above:
            notes.append(
                f"The best {task} {METRIC_NAMES[metric]} among the published rows is "
                f"{points(best.value)} ({best.model}); the guide's figures after "
                f"fine-tuning that are above it: {', '.join(above)}."
            )
    return notes


def _by_key(values: Iterable[Expected]) -> dict[tuple[str, str, str, str], Expected]:
    return {(v.model, v.checkpoint, v.task, v.metric): v for v in values}
