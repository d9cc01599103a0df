"""What every kind of check does first and gives in the end."""

from msgspec import Struct

from journeyman.sandbox.check_steps import raised
from journeyman.sandbox.session import Failure, Reply, SandboxSession, SessionEnded


class CheckOutcome(Struct, frozen=True):
    """How a check went: `ran` of `expected` steps passed or were the one that failed.

    `acknowledged`: how many of them were only reported by the candidate's own process.
    """

    ran: int
    expected: int
    failure: Failure = ""
    detail: str = ""
    acknowledged: int = 0

    @property
    def passed(self) -> bool:
        """Whether all of it ran and nothing failed."""
        return self.ran >= self.expected and not self.failure


def begin(session: SandboxSession) -> None:
    """Find out whether the sandbox is up, and start the clock after it."""
    session.ask("load", "")
    session.start_clock()


def load(session: SandboxSession, source: str, prefix: str = "") -> None:
    """Execute a module's source. Raises Ended where it does not come to its end."""
    if not source:
        return
    reply = session.ask("load", source)
    if reply.raised:
        failure, detail = _load_failure(reply)
        raise SessionEnded(failure, prefix + detail)


def _load_failure(reply: Reply) -> tuple[Failure, str]:
    words: dict[str, Failure] = {"SyntaxError": "syntax", "ImportError": "import"}
    failure, detail = raised(reply)
    return words.get(reply.raised, failure), detail
