"""What programs beyond pip make of the tables and plots: a LaTeX compiler, a browser.

The smoke cases of `make test` are in tests/unit/reports/test_documents.py (structure of the LaTeX)
and below (the page that DVC writes).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workspace import ROOT

LATEX = ("tectonic", "pdflatex", "lualatex")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")


def program(names: tuple[str, ...]) -> str:
    """The first of some programs that is installed; without one, the test is not run."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"not run: none of {', '.join(names)} is installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `dvc plots show` for the committed plots."""
    out = tmp_path_factory.mktemp("plots")
    done = subprocess.run(
        ["dvc", "plots", "show", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / "index.html"


def test_the_page_of_plots_has_every_plot(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for title in ("Training loss", "Development nDCG@10", "nDCG@10 by task"):
        assert title in html
    heatmaps = {path.name for path in (ROOT / "plots/results/heatmaps").glob("*.png")}
    assert heatmaps
    assert heatmaps <= {re.sub(r".*heatmaps[_/]", "", name) for name in images(html)}


def images(html: str) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', html)


@pytest.mark.acceptance
def test_a_browser_draws_the_plots(page: Path, tmp_path: Path) -> None:
    browser, shot = program(BROWSERS), tmp_path / "page.png"
    subprocess.run(
        [browser, "--headless", f"--screenshot={shot}", "--window-size=1200,4000", page.as_uri()],
        check=True,
        timeout=120,
    )
    assert shot.stat().st_size > 20_000, "an empty page is smaller"


@pytest.mark.acceptance
@pytest.mark.parametrize("table", sorted(p.name for p in (ROOT / "tables").glob("*.tex")))
def test_a_table_compiles(table: str, tmp_path: Path) -> None:
    compiler = program(LATEX)
    text = (ROOT / "tables" / table).read_text(encoding="utf-8")
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
        + text
        + "\\end{document}\n",
        encoding="utf-8",
    )
    options = [] if compiler.endswith("tectonic") else ["-interaction=nonstopmode"]
    subprocess.run([compiler, *options, "page.tex"], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "page.pdf").stat().st_size > 0
