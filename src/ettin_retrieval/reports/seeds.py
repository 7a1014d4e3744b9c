"""The seeds of an arm that can be taken together, and base against fine-tuned over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import points
from ettin_retrieval.reports.likeness import Difference
from ettin_retrieval.reports.references import Key
from ettin_retrieval.reports.significance import seed_spread
from ettin_retrieval.reports.view import View, distinct, entry_order, model_order


@dataclass(frozen=True)
class Arm:
    """Entries of a model and arm that differ in their seeds alone; base weights are there once."""

    entries: tuple[Entry, ...]  # in order of seed
    left_out: tuple[str, ...] = ()  # other seeds, and in what they differ

    @property
    def seeds(self) -> str:
        """In words.

        >>> Arm((Entry("1b", "base", 42, {}, {}), Entry("1b", "base", 43, {}, {}))).seeds
        'seeds 42, 43'
        """
        numbers = ", ".join(str(entry.seed) for entry in self.entries)
        return f"seed{'s' if len(self.entries) > 1 else ''} {numbers}"


@dataclass(frozen=True)
class Contrast:
    """A base encoder and what was fine-tuned from it by one recipe, over the seeds of each."""

    base: Arm
    tuned: Arm
    unlike: tuple[Difference, ...]  # in the data of single tasks, which are left out

    def queries(self, view: View) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
        """Per-query scores, a frame per seed."""
        return frames(view, self.base, self.unlike), frames(view, self.tuned, self.unlike)


def arm_of(view: View, entries: Sequence[Entry]) -> Arm:
    """The seeds that were measured as the one with the most tasks was, on the same tasks."""
    full = sorted(entries, key=lambda entry: (-len(entry.tasks), entry.seed))
    alike, left_out = [], []
    for entry in distinct(full):
        differing = view.unlike(full[0], entry)
        if differing or entry.tasks.keys() != full[0].tasks.keys():
            why = f"other {differing[0]}" if differing else "other tasks"
            left_out.append(f"seed {entry.seed}, {why}")
        else:
            alike.append(entry)
    return Arm(tuple(sorted(alike, key=lambda entry: entry.seed)), tuple(sorted(left_out)))


def contrasts(view: View) -> tuple[list[Contrast], list[str]]:
    """Base against fine-tuned for each model and recipe, and what is not compared, in words."""
    found, left_out = [], []
    tuned = sorted((e for e in view.entries if e.checkpoint == "finetuned"), key=entry_order)
    for (model, arm), group in groupby(tuned, key=lambda entry: (entry.model, entry.arm)):
        bases = [e for e in view.entries if (e.model, e.checkpoint) == (model, "base")]
        partners: dict[str, Entry] = {}
        alike = []
        for entry in group:
            own = [base for base in bases if not view.apart(base, entry)]
            partners |= {base.name: base for base in own}
            if own:
                alike.append(entry)
            elif bases:
                nearest = min(bases, key=lambda base: base.seed != entry.seed)
                named = "; ".join(map(str, view.apart(nearest, entry)))
                left_out.append(f"{entry.name} with {nearest.name}: other {named}")
        if alike:
            after = arm_of(view, alike)
            before = arm_of(view, list(partners.values()))
            unlike = view.unlike(before.entries[0], after.entries[0])
            found.append(Contrast(before, after, tuple(unlike)))
            left_out += [f"{model}/{arm}, {why}" for why in after.left_out]
            left_out += [f"{model}/{arm} with its base: other {each}" for each in unlike]
    return found, left_out


def frames(view: View, arm: Arm, unlike: Sequence[Difference] = ()) -> list[pd.DataFrame]:
    """Per-query scores of each seed, without tasks whose data is not that of the other side."""
    apart = {each.task for each in unlike}
    scores = [view.queries(entry) for entry in arm.entries]
    return [frame[~frame["task"].isin(apart)] for frame in scores]


def seed_caveat(view: View, arm: Arm, metric: str = "ndcg_at_10") -> str | None:
    """That one training seed shows nothing of how seeds vary, and what other sizes show of it.

    None for a base checkpoint, and over several seeds.
    """
    [*others, entry] = arm.entries
    if others or entry.checkpoint != "finetuned":
        return None
    known = "; ".join(_spreads(view, entry, metric))
    spread = "no other size has several seeds"
    if known:
        spread = f"standard deviation over seeds of other sizes: {known}"
    name = f"{entry.model}/{entry.arm}"
    return f"{name} has one seed ({entry.seed}): seed noise is in no interval; {spread}"


def _spreads(view: View, entry: Entry, metric: str) -> Iterator[str]:
    """For each other size with several seeds: of its averages or, without one, of a task."""
    others = {e.model for e in view.entries if e.arm == entry.arm} - {entry.model}
    for model in sorted(others, key=model_order):
        arm = arm_of(view, [e for e in view.entries if (e.model, e.arm) == (model, entry.arm)])
        if len(arm.entries) == 1:
            continue
        key = Key(model, entry.checkpoint, entry.recipe, "", None, metric)
        whole = {
            f"average of {name}": view.measured(key._replace(task=name)).deviation
            for name in view.references.benchmarks
        }
        known = {of: deviation for of, deviation in whole.items() if deviation is not None}
        if not known:
            by_task = seed_spread(frames(view, arm), metric)["deviation"]
            known = {"a task, root mean square": float((by_task**2).mean() ** 0.5)}
        yield from (f"{model} {points(d)} points ({of})" for of, d in known.items())
