"""Every error that a user can meet, and the exit code of each.

JourneymanError
├── UsageError       2   a flag, a setting or a name that cannot be used
├── DataRefused      3   input that was read but must not be used for training or evaluation
├── MachineError     4   disk, port, permission, missing compiler or program
├── UpstreamError    5   a server or package index that does not answer as it should
├── IntegrityError   6   a file whose contents are not the expected ones
└── Interrupted     75   stopped on request; the same command continues
"""


class JourneymanError(Exception):
    """What went wrong, where, and with which value; `hint` is the next step for the user."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(JourneymanError):
    """The command cannot be carried out as given."""

    exit_code = 2


class DataRefused(JourneymanError):
    """The input was read but must not be used."""

    exit_code = 3


class MachineError(JourneymanError):
    """This machine lacks something: space, a permission, a port, a compiler, an instruction."""

    exit_code = 4


class UpstreamError(JourneymanError):
    """A server or package index did not answer, or its answer makes no sense."""

    exit_code = 5


class IntegrityError(JourneymanError):
    """A file is damaged, incomplete, or not the expected one."""

    exit_code = 6


class Interrupted(JourneymanError):
    """Stopped on request with nothing lost; the same command continues."""

    exit_code = 75
