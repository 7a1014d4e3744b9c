"""Serve the miniatures until interrupted: `python -m tests.hub`."""

from __future__ import annotations

import contextlib
import threading

from tests.hub import LoopbackHub, populate

if __name__ == "__main__":
    with LoopbackHub() as hub, contextlib.suppress(KeyboardInterrupt):
        populate(hub)
        print(f"export HF_ENDPOINT={hub.endpoint} HF_HOME=$(mktemp -d)", flush=True)
        threading.Event().wait()
