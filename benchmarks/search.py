"""Search and scoring: `score_task` against mteb with its own search, and against a bare top-k.

Also how their time grows with documents, queries and dimensions: growth.png.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from benchmarks.fake import FakeEncoder, Vectors, fake_dataset
from benchmarks.harness import Inputs, Job, Run, Runs, contest, timed
from benchmarks.record import Figure, Section, memory_ratio, ratios

INPUTS = {"documents": 120_000, "queries": 300, "dimensions": 384}
WARM_UP = {"documents": 2_000, "queries": 10}
GROWTH_INPUTS = {"documents": 32_000, "queries": 128, "dimensions": 256}
FACTORS = (0.25, 0.5, 1, 2, 4)
COLOURS = ("#0072b2", "#a6a6a6", "#d55e00")
"""From Okabe and Ito's palette: colour-blind readers can tell them apart, in grey too."""

BARE = "bare top-k"
NOTE = """\
Fake encoder. Ours and mteb's are whole evaluations, metrics included; the bare top-k encodes,
multiplies and calls `torch.topk` with mteb's k of 1000, without ids, judgments or metrics. Within
1.3 times its time is a ratio of 0.769. mteb's metrics and the rest around a search take {:.2f} s:
the third row is what an evaluation would reach whose search is the bare top-k."""


def measure(inputs: Inputs = INPUTS, repetitions: int = 5) -> Section:
    """Whole evaluations, and the search within ours."""
    runs = contest(CONTENDERS, inputs, repetitions, WARM_UP)
    around = [run["seconds"] - run["search_seconds"] for run in runs["ours"]]
    pairs = list(zip(runs["ours"], runs[BARE], strict=True))
    alone = [bare["seconds"] / ours["search_seconds"] for ours, bare in pairs]
    ideal = [b["seconds"] / (b["seconds"] + r) for (_, b), r in zip(pairs, around, strict=True)]
    figures = [
        Figure("evaluation, speed against mteb's own search", ratios(runs, "ours", "mteb"), 5.0),
        Figure("evaluation, speed against a bare top-k", ratios(runs, "ours", BARE), 1 / 1.3),
        Figure("evaluation against a bare top-k, if that were its search", ideal),
        Figure("search alone, speed against a bare top-k", alone, 1 / 1.3),
        Figure("memory against mteb's own search", memory_ratio(runs, "ours", "mteb")),
    ]
    ours, theirs = (runs[name][-1]["ndcg_at_10"] for name in ("ours", "mteb"))
    notes = [NOTE.format(median(around)), f"nDCG@10: ours {ours:.5f}, mteb {theirs:.5f}."]
    return Section("Search and scoring", inputs, figures, runs, notes)


def measure_growth(inputs: Inputs = GROWTH_INPUTS, repetitions: int = 3) -> Section:
    """Vary one size at a time; the runs of a point are named `CONTENDER, SIZE VALUE`."""
    runs: Runs = {}
    for varied, middle in inputs.items():
        for value in (max(1, int(middle * factor)) for factor in FACTORS):
            found = contest(CONTENDERS, inputs | {varied: value}, repetitions, WARM_UP)
            runs |= {f"{name}, {varied} {value}": done for name, done in found.items()}
    notes = ["See growth.png: one size varies, the others stay as they are above."]
    return Section("Growth of search", inputs, [], runs, notes)


def draw_growth(section: Section, path: Path) -> None:
    """A panel for each size, both axes logarithmic; the same section gives the same bytes."""
    from matplotlib.figure import Figure

    points = [
        (*name.replace(", ", " ").rsplit(maxsplit=2), median(run["seconds"] for run in done))
        for name, done in section.runs.items()
    ]
    frame = pd.DataFrame(points, columns=["contender", "size", "value", "seconds"])
    frame = frame.astype({"value": int})
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(section.inputs), sharey=True)
    for axes, (size, part) in zip(panels, frame.groupby("size", sort=False), strict=True):
        curves = part.pivot(index="value", columns="contender", values="seconds")[[*CONTENDERS]]
        options: Any = {"xlabel": size, "ylabel": "seconds", "color": COLOURS, "marker": "o"}
        curves.plot(ax=axes, loglog=True, grid=True, legend=False, **options)
        axes.set_xticks(curves.index, curves.index, rotation=45)
        axes.minorticks_off()
    sizes = ", ".join(f"{value:,} {name}" for name, value in section.inputs.items())
    figure.suptitle(f"Evaluation with a fake encoder; unless varied: {sizes}")
    figure.legend(panels[0].lines, CONTENDERS, loc="outside right upper")
    figure.savefig(path, metadata={"Software": None})  # no version in the bytes


def ours(inputs: Inputs) -> Job:
    """`score_task` with `ExactSearch`, over the corpus in `directory` if there is one."""
    from ettin_retrieval.data.storage import open_dataset
    from ettin_retrieval.encoders.encode import TextEncoder
    from ettin_retrieval.evaluation.score import score_task
    from ettin_retrieval.evaluation.search import ExactSearch

    class TimedSearch(ExactSearch):
        def search(self, *given: Any, **named: Any) -> Any:
            with timed() as self.alone:
                return super().search(*given, **named)

    encoder: Any = FakeEncoder(inputs)
    directory = inputs.get("directory")
    dataset = open_dataset(Path(directory)) if directory else fake_dataset(inputs)
    checkpoint = {"fingerprint": "0" * 64, "parameters": 1, "max_passage_length": 512}
    checkpoint |= {"embedding_dimension": inputs["dimensions"], "normalize": True}

    def job() -> Run:
        search = TimedSearch(TextEncoder(encoder, 32), checkpoint)
        scores = score_task(search, "FakeCollection", dataset).scores
        return {"search_seconds": search.alone["seconds"], "ndcg_at_10": scores["ndcg_at_10"]}

    return job


def mtebs_own(inputs: Inputs) -> Job:
    """mteb's own search, as it wraps any encoder; inner products, as vectors have length one."""
    import mteb
    import torch
    from mteb.models.model_meta import ModelMeta

    from ettin_retrieval.evaluation.tasks import task_for

    class Encoder(FakeEncoder):
        mteb_model_meta = ModelMeta.create_empty({"name": "benchmarks/fake", "revision": "1"})

        def encode(self, batches: Any, *, prompt_type: Any, **_: Any) -> Vectors:
            texts = [text for batch in batches for text in batch["text"]]
            is_query = prompt_type.value == "query"
            return self.encode_query(texts) if is_query else self.encode_document(texts)

        def similarity(self, one: Any, other: Any) -> torch.Tensor:
            return torch.as_tensor(one) @ torch.as_tensor(other).T

        similarity_pairwise = similarity  # mteb requires it and does not call it

    encoder: Any = Encoder(inputs)
    dataset = fake_dataset(inputs)

    def job() -> Run:
        task = task_for("FakeCollection", dataset)
        mteb.evaluate(encoder, [task], cache=None, show_progress_bar=False)
        return {"ndcg_at_10": float(task.per_query["ndcg_at_10"].mean())}

    return job


def bare_top_k(inputs: Inputs) -> Job:
    """The least that an exact search has to do."""
    import torch

    encoder, dataset = FakeEncoder(inputs), fake_dataset(inputs)
    texts, queries = dataset.passage_texts(), dataset.queries["text"].tolist()

    def job() -> Run:
        passages = torch.from_numpy(encoder.encode_document(texts))
        scores = torch.from_numpy(encoder.encode_query(queries)) @ passages.T
        torch.topk(scores, min(1000, len(texts)), dim=1)
        return {}

    return job


CONTENDERS = {"ours": ours, "mteb": mtebs_own, BARE: bare_top_k}
