"""Setup of a command's process, before anything heavy is imported."""

from __future__ import annotations

import gc
import logging
import warnings


def prepare_process() -> None:
    """Log this project's lines, silence libraries' notices, and collect garbage less often."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("ettin_retrieval").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.INFO)  # bm25s logs its debugging whatever the level of others
    # What libraries announce about their own future does not concern a user of this project.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    # Importing torch and transformers makes a million objects that stay; collecting among them
    # takes a second of each stage.
    gc.set_threshold(100_000, 20, 20)
