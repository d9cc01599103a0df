"""`journeyman sandbox`: test the sandbox that runs generated code."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from journeyman.cli import COMMANDS
from journeyman.console import Console
from journeyman.errors import MachineError
from journeyman.events import Table
from journeyman.settings import SelfTestSettings

if TYPE_CHECKING:
    from journeyman.sandbox.selftest import SelfTest

app = App(name="sandbox", help=COMMANDS["sandbox"])


@app.command
def selftest(
    settings: Annotated[SelfTestSettings, Parameter(name="*")] = SelfTestSettings(),
) -> int:
    """Attack the sandbox and report whether it holds.

    Exits with 0 if every attack was held, with 4 if one was not or this sandbox cannot be made.
    """
    import msgspec

    from journeyman.sandbox.selftest import find_tested_sandbox

    with Console() as console:
        _, found = find_tested_sandbox(settings.profile, console.report, short=settings.short)
        if settings.json:
            console.data(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        else:
            console.table(_table(found))
        return 0 if found.held else MachineError.exit_code


def _table(found: "SelfTest") -> Table:
    """Every attack with its result; the title says which sandbox was tested."""
    landlock = f"Landlock {found.landlock}" if found.landlock else "no Landlock in this kernel"
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
