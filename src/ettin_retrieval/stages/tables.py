"""Stage tables: tables and pictures from the ledger; no model, no data, no GPU."""

from __future__ import annotations

from ettin_retrieval.params import Settings
from ettin_retrieval.stages import Paths, run_stage


def body(settings: Settings, paths: Paths) -> str:
    """Render every table and draw every picture."""
    # matplotlib takes a second to import; a missing input should be told before.
    from ettin_retrieval.plots import write_plots
    from ettin_retrieval.results import write_index
    from ettin_retrieval.tables import write_tables

    # Rows may have come in by git or by `ettin-retrieval collect` since a stage wrote the index.
    write_index(paths["results"])
    tables = write_tables(paths["results"], paths["expected"], paths["tables"])
    plots = write_plots(paths["results"], paths["plots"])
    return f"{tables} files of tables, {plots} of plots"


if __name__ == "__main__":
    run_stage("tables", body, reads=["results", "expected"], writes=["tables", "plots"])
