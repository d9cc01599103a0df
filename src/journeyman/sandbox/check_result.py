"""The result of a check, and the first requests of every run."""

from msgspec import Struct

from journeyman.sandbox.check_steps import failure_of
from journeyman.sandbox.session import Failure, Reply, SandboxSession, SessionEnded


class CheckResult(Struct, frozen=True):
    """How a check ended: `ran` of `expected` steps ran, the last one may have failed.

    `failure` is one word, empty if nothing failed; `detail` says more. `acknowledged` is how many
    of the assertions that ran were only reported by the answer's own process, not decided outside.
    """

    ran: int
    expected: int
    failure: Failure = ""
    detail: str = ""
    acknowledged: int = 0
    duration_s: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every step ran and none failed."""
        return self.ran >= self.expected and not self.failure


def start(session: SandboxSession) -> None:
    """Wait until the sandbox is up, then start its clock."""
    session.ask("load", "")
    session.start_clock()


def load(session: SandboxSession, source: str, prefix: str = "") -> None:
    """Execute a module's source. Raises SessionEnded if it raises; prefix: of that message."""
    if not source:
        return
    reply = session.ask("load", source)
    if reply.raised:
        failure, detail = _load_failure(reply)
        raise SessionEnded(failure, prefix + detail)


def _load_failure(reply: Reply) -> tuple[Failure, str]:
    failures: dict[str, Failure] = {"SyntaxError": "syntax", "ImportError": "import"}
    failure, detail = failure_of(reply)
    return failures.get(reply.raised, failure), detail
