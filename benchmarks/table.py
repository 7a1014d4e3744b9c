"""The findings as a page of Markdown."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from benchmarks.record import Figure, NotRun, Ratio, Section

FOUND = {"peak_mib": "peak MiB", "above_mib": "of it for the work"}


def page(sections: dict[str, Section]) -> str:
    """All sections, each with the machine it was measured on where they differ."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make benchmark`; do not edit. Ratios are measured within one run, contenders in",
        "turn in processes of their own: bigger is better, the median (least to greatest) of the",
        "repetitions stands beside the goal. `make benchmark-check` fails where a ratio is more",
        "than 10% below this table's.",
    ]
    machines = {json.dumps(section.machine, sort_keys=True) for section in sections.values()}
    if len(machines) == 1:
        lines += ["", *_machine(next(iter(sections.values())).machine)]
    for section in sections.values():
        lines += _section(section, one_machine=len(machines) == 1)
    return "\n".join(lines) + "\n"


def _section(section: Section, one_machine: bool) -> list[str]:
    lines = ["", f"## {section.title}", ""]
    if section.inputs:
        lines += [", ".join(f"{key}: {_value(v)}" for key, v in section.inputs.items()) + ".", ""]
    if not one_machine:
        lines += [*_machine(section.machine), ""]
    if section.ratios or section.not_run:
        lines += ["| ratio | measured | goal | |", "|---|---|---|---|"]
        lines += [ratio_row(ratio) for ratio in section.ratios]
        lines += [_not_run_row(missing) for missing in section.not_run]
        lines.append("")
    if section.figures:
        lines += ["| figure | measured | goal | |", "|---|---|---|---|"]
        lines += [figure_row(figure) for figure in section.figures]
        lines.append("")
    if section.runs:
        lines += _runs(section)
    lines += [f"- {note}" for note in section.notes]
    return lines


def ratio_row(ratio: Ratio) -> str:
    """One ratio as a row of a Markdown table.

    >>> ratio_row(Ratio("speed", [1.0, 2.0, 3.0], 2.5))
    '| speed | 2.00 (1.00 to 3.00) | 2.50 | missed |'
    """
    spread = f"{min(ratio.values):.2f} to {max(ratio.values):.2f}"
    measured = f"{ratio.median:.2f}" + (f" ({spread})" if len(ratio.values) > 1 else "")
    if ratio.goal is None:
        return f"| {ratio.name} | {measured} | | |"
    verdict = "met" if ratio.median >= ratio.goal else "missed"
    return f"| {ratio.name} | {measured} | {ratio.goal:.2f} | {verdict} |"


def figure_row(figure: Figure) -> str:
    """One figure as a row of a Markdown table.

    >>> figure_row(Figure("start", 0.25, "s", at_most=0.5))
    '| start | 0.250 s | at most 0.5 s | met |'
    """
    measured = f"{_number(figure.value)} {figure.unit}"
    if figure.at_most is None:
        return f"| {figure.name} | {measured} | | |"
    verdict = "met" if figure.value <= figure.at_most else "missed"
    return f"| {figure.name} | {measured} | at most {figure.at_most:g} {figure.unit} | {verdict} |"


def _not_run_row(missing: NotRun) -> str:
    goal = "" if missing.goal is None else f"{missing.goal:.2f}"
    return f"| {missing.name} | not run | {goal} | {missing.reason} |"


def _runs(section: Section) -> list[str]:
    there = [
        key for key in FOUND if any(key in run for found in section.runs.values() for run in found)
    ]
    heads = ["contender", "seconds", *(FOUND[key] for key in there)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, found in section.runs.items():
        seconds = [run["seconds"] for run in found]
        cell = _number(median(seconds))
        if len(seconds) > 1:
            cell += f" ({_number(min(seconds))} to {_number(max(seconds))})"
        largest = [_number(max(run.get(key, 0.0) for run in found)) for key in there]
        lines.append("| " + " | ".join([name, cell, *largest]) + " |")
    return [*lines, ""]


def _number(value: float) -> str:
    """Three significant digits, without an exponent.

    >>> _number(1234.5), _number(0.012345)
    ('1,234', '0.0123')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machine(machine: dict[str, Any]) -> list[str]:
    if not machine:
        return []
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    return [
        f"Machine: {machine['processor']}, {machine['cores']} cores "
        f"({', '.join(machine['instruction_sets']) or 'instruction sets unknown'}), "
        f"{machine['memory_gib']} GiB, GPU: {machine['gpu'] or 'none'}, {machine['threads']} "
        f"threads, Python {machine['python']}; {versions}.",
    ]
