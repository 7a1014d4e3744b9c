"""A Hugging Face Hub on the loopback interface that serves miniatures: see README.md."""

from tests.hub.populate import populate
from tests.hub.server import LoopbackHub

__all__ = ["LoopbackHub", "populate"]
