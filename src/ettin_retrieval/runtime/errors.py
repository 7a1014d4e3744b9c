"""Errors that a user can fix, reported in one line."""


class InputError(Exception):
    """A user's mistake: the message says what is wrong, where, and how to fix it.

    Commands print the message alone and exit with status 1. A traceback always means a bug.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class LossNotFiniteError(InputError):
    """Training diverged: the loss is no longer a finite number.

    A sweep records it as the outcome of a learning rate; everything else reports it.
    """
