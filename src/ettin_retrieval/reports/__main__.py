"""Stage tables: render every table and draw every plot from the ledger."""

from __future__ import annotations

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Write tables and plots."""
    # matplotlib takes a second to import; a missing input is reported before.
    from ettin_retrieval.ledger.store import write_index
    from ettin_retrieval.reports.plots import write_plots
    from ettin_retrieval.reports.tables.write import write_tables

    # Entries may have come in by git or by `ettin-retrieval collect` since the index was written.
    write_index(paths["results"])
    tables = write_tables(paths["results"], paths["expected"], paths["tables"])
    plots = write_plots(paths["results"], paths["expected"], paths["plots"])
    return f"{tables} files of tables, {plots} of plots"


if __name__ == "__main__":
    run_stage("tables", run, reads=["results", "expected"], writes=["tables", "plots"])
