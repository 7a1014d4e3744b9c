"""Has a ratio become worse than the recorded one?"""

from __future__ import annotations

from benchmarks.record import Section

TOLERANCE = 0.10
"""How much of a recorded ratio may be lost before it counts as a regression."""


def regressions(recorded: dict[str, Section], measured: dict[str, Section]) -> list[str]:
    """One line for each ratio that lost more than `TOLERANCE`, is gone, or cannot be compared, and
    for each figure above its bound.

    Only the benchmarks that were measured are looked at.
    """
    lines = []
    for name, section in measured.items():
        before = recorded.get(name)
        if before is None:
            lines.append(f"{name}: nothing is recorded to compare with; run `make benchmark`")
        elif before.inputs != section.inputs:
            lines.append(
                f"{name}: measured at other sizes than recorded: {_differing(before, section)}"
            )
        else:
            lines += _worse(before, section)
        lines += _above_bound(section)
    return lines


def _above_bound(section: Section) -> list[str]:
    return [
        f"{section.benchmark}: {figure.name}: {figure.value:.2f} {figure.unit}, more than "
        f"{figure.at_most:g} {figure.unit}"
        for figure in section.figures
        if figure.at_most is not None and figure.value > figure.at_most
    ]


def _differing(before: Section, after: Section) -> str:
    keys = sorted(before.inputs.keys() | after.inputs.keys())
    return ", ".join(
        f"{key} {after.inputs.get(key)} instead of {before.inputs.get(key)}"
        for key in keys
        if before.inputs.get(key) != after.inputs.get(key)
    )


def _worse(before: Section, after: Section) -> list[str]:
    lines = []
    for ratio in before.ratios:
        now = after.ratio(ratio.name)
        if now is None:
            lines.append(f"{before.benchmark}: {ratio.name}: recorded, but not measured now")
        elif now.median < (1 - TOLERANCE) * ratio.median:
            lost = 1 - now.median / ratio.median
            lines.append(
                f"{before.benchmark}: {ratio.name}: {now.median:.2f}, {lost:.0%} below the "
                f"recorded {ratio.median:.2f}"
            )
    return lines
