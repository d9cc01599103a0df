"""Each row of the log: what was found in it, what becomes of it, and the conversation it makes."""

from collections.abc import Iterable

from msgspec import Struct

from journeyman.data.facts import findings_in
from journeyman.data.groups import group_of
from journeyman.data.prompts import messages_for
from journeyman.errors import DataRefused
from journeyman.files import LineFault
from journeyman.prepare.policy import REPEATED, action_for
from journeyman.prepare.records import Action
from journeyman.prepare.rendering import Renderer
from journeyman.records import Interaction, Message
from journeyman.settings import Policy, Prompts


class Usable(Struct, frozen=True):
    """The conversation of a row that is kept or masked.

    `prompt` is equal for rows with the same prompt; `group` for all that must stay together.
    """

    messages: tuple[Message, ...]
    text: str
    prompt: str
    group: str


class Judged(Struct, frozen=True):
    """One row of the log. `interaction` is None where the line could not be read.

    `usable` is None where it is dropped or quarantined; a quarantined one has a `reason`.
    """

    line: int
    interaction: Interaction | None
    action: Action
    rules: tuple[str, ...] = ()
    usable: Usable | None = None
    reason: str = ""
    torn: bool = False


def judge(
    rows: Iterable[Interaction | LineFault],
    renderer: Renderer,
    *,
    policy: Policy,
    prompts: Prompts,
) -> list[Judged]:
    """Every row with its verdict, in the log's order. All rows are held in memory."""
    seen: set[str] = set()
    judged: list[Judged] = []
    for row in rows:
        if isinstance(row, LineFault):
            judged.append(Judged(row.line, None, "quarantined", reason=row.reason, torn=row.torn))
            continue
        repeated = (REPEATED,) if row.id in seen else ()
        rules = (*(finding.rule for finding in findings_in(row)), *repeated)
        judged.append(_judged(row, rules, renderer, policy, prompts))
        seen.add(row.id)
    return judged


def _judged(
    row: Interaction,
    rules: tuple[str, ...],
    renderer: Renderer,
    policy: Policy,
    prompts: Prompts,
) -> Judged:
    action = action_for(rules, policy)
    if action == "dropped":
        return Judged(row.line, row, action, rules)
    try:
        messages = messages_for(row, prompts)
        prompt = group_of(messages)
        usable = Usable(messages, renderer.text(messages), prompt, group=prompt)
    except DataRefused as error:
        return Judged(row.line, row, "quarantined", rules, reason=error.message)
    return Judged(row.line, row, action, rules, usable)
