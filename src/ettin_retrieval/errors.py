"""The exception for a mistake that its user can mend, and its one special case."""


class InputError(Exception):
    """A user's mistake, told in one line: what is wrong, where, and how to mend it.

    Stage commands print the message alone and exit with status 1; a traceback means a defect
    of this package.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class LossNotFiniteError(InputError):
    """Training broke down: its loss is no longer a finite number.

    The one failure that says something about a learning rate.
    """
