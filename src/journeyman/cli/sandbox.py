"""`journeyman sandbox`: the place where generated code is run."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from journeyman.console import Console
from journeyman.errors import MachineError
from journeyman.events import Table
from journeyman.settings import SelfTestSettings

if TYPE_CHECKING:
    from journeyman.sandbox.selftest import SelfTest

app = App(name="sandbox", help="Test the place where generated code is run.")


@app.command
def selftest(
    settings: Annotated[SelfTestSettings, Parameter(name="*")] = SelfTestSettings(),
) -> int:
    """Carry out every attack that the sandbox must hold against, and say how each one ended.

    Ends with 0 where all were held, with 4 where one was not or there is no such sandbox.
    """
    import msgspec

    from journeyman.sandbox.selftest import tested

    with Console() as console:
        _, found = tested(settings.profile, console.report, short=settings.short)
        if settings.json:
            console.data(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        else:
            console.table(_table(found))
        return 0 if found.held else MachineError.exit_code


def _table(found: "SelfTest") -> Table:
    """Every attack, and above them by what they were held."""
    landlock = f"Landlock {found.landlock}" if found.landlock else "this kernel has no Landlock"
    user = "the caller's own user" if found.user is None else f"user {found.user}"
    verdict = "all held" if found.held else f"{len(found.failed)} NOT HELD"
    what = f"{found.bwrap or 'no namespaces'}, {found.python}, {user}, {landlock}, {found.kernel}"
    title = f"sandbox {found.profile}: {found.reason or f'{what}: {verdict}'}"
    rows = tuple(
        (
            attack.group,
            attack.name,
            "held" if attack.held else "NOT HELD",
            "; ".join((attack.outcome, *attack.changes)),
            f"{attack.duration_s:.2f} of {attack.limit_s:g} s",
        )
        for attack in found.attacks
    )
    return Table(title, ("group", "attack", "result", "outcome", "time"), rows)
