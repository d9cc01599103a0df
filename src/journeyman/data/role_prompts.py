"""The system prompt of each agent role, and the conversation of an interaction.

The texts are data: train, evaluate and serve with the same ones. An unknown role is refused, since
a default prompt would teach one agent the work of another.
"""

from collections.abc import Mapping
from types import MappingProxyType

from journeyman.errors import DataRefused
from journeyman.records import Interaction, Message
from journeyman.settings import Prompts

ROLE_PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "coder": (
            "You are an expert software engineer specializing in Clean Architecture and Clean Code."
            " Write code that is correct, complete, typed and easy to read. Give small functions"
            " with telling names, handle errors where they arise, and explain only what the code"
            " cannot say."
        ),
        "tester": (
            "You are an expert test engineer. Write tests that can fail: one behaviour each, with"
            " a name that says it, covering ordinary values, limits and errors. Test what the code"
            " does, never how, and keep every test independent of the others."
        ),
        "reviewer": (
            "You are an expert code reviewer. Look first for faults in behaviour, then security,"
            " then design and readability. For each finding name the place, say why it matters and"
            " propose the change; say also what is good as it is."
        ),
        "researcher": (
            "You are an expert technical researcher. Answer from what is known, compare the"
            " alternatives by their merits and costs, separate facts from opinion, say what is"
            " uncertain, and end with a recommendation."
        ),
        "coordinator": (
            "You are an expert technical coordinator. Break the work into ordered steps with one"
            " clear result each, name who does it and what it depends on, and point out risks and"
            " what can be done at the same time."
        ),
    }
)


def messages_for(interaction: Interaction, prompts: Prompts) -> tuple[Message, ...]:
    """The prompt of an interaction, and its answer if there is one.

    prompts: `role` is this project's system prompt and the task, `logged` the messages that were
    sent. If earlier answers or results of tools were sent, `role` keeps them too and only replaces
    the system prompt. Raises DataRefused (with the reason only; the caller knows the line) for an
    unknown role, or if the log does not have the sent messages.
    """
    turns = _sent(interaction) if prompts == "logged" else _by_role(interaction)
    calls = interaction.tool_calls
    if interaction.answer is None and not calls:
        return turns
    return (*turns, Message("assistant", interaction.answer or "", tool_calls=calls))


def _by_role(interaction: Interaction) -> tuple[Message, ...]:
    if interaction.agent not in ROLE_PROMPTS:
        known = ", ".join(f"`{role}`" for role in ROLE_PROMPTS)
        raise DataRefused(
            f"`$.agent.role` is `{interaction.agent}`, known roles are {known}",
            hint="correct the role in the log, or use the logged prompts: --prompts logged",
        )
    system = Message("system", ROLE_PROMPTS[interaction.agent])
    if {"assistant", "tool"}.isdisjoint(message.role for message in interaction.sent):
        return (system, Message("user", interaction.task))
    turns = _checked(interaction.sent, hint="correct the row, or remove it from the log")
    return (system, *(message for message in turns if message.role != "system"))


def _sent(interaction: Interaction) -> tuple[Message, ...]:
    return _checked(interaction.sent, hint="use this project's prompts: --prompts role")


def _checked(sent: tuple[Message, ...], *, hint: str) -> tuple[Message, ...]:
    """The sent messages if a model can answer them. Raises DataRefused."""
    roles = [message.role for message in sent]
    where = "`$.execution.input_messages`"
    reason = ""
    if not roles:
        reason = f"{where} is missing, but `--prompts logged` needs it"
    elif "user" not in roles:
        reason = f"{where} has no `user` turn"
    elif "system" in roles[1:]:
        reason = f"{where} has a `system` turn that is not the first"
    elif roles[-1] == "assistant":
        reason = f"{where} ends with an `assistant` turn"
    if reason:
        raise DataRefused(reason, hint=hint)
    return sent
