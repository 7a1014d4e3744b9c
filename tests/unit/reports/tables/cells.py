"""Reading rendered tables back."""

from __future__ import annotations

import csv


def guide_rows(markdown: str) -> dict[tuple[str, str, int], list[str]]:
    """Model, kind of row and number of the table to the row's cells, of guide.md."""
    rows, model = {}, ""
    for number, part in enumerate(markdown.split("## ")[1:3]):
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) > 2 and cells[1] in ("measured", "expected", "verdict"):
                model = cells[0] or model
                rows[model, cells[1], number] = cells[2:]
    return rows


def csv_rows(text: str) -> list[dict[str, str]]:
    """Lines of a CSV."""
    return list(csv.DictReader(text.splitlines()))


def row_of(markdown: str, task: str) -> list[str]:
    """Cells of the only row that begins with a task."""
    [line] = [line for line in markdown.splitlines() if line.startswith(f"| {task} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]
