"""The command line: names of commands, where their defaults come from, and how errors end.

Values come from, first wins: flags, `JOURNEYMAN_COMMAND_FLAG` in the environment, the table of the
command in `journeyman.toml`, the file or preset of `train`, the defaults in `journeyman.settings`.
A command's module is imported when it is called, so that `--help` stays quick.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError
from cyclopts.config import Env, Toml

from journeyman import __version__
from journeyman.cli.presets import named_values
from journeyman.console import Console
from journeyman.errors import Interrupted, JourneymanError, MachineError, UsageError

COMMANDS = {
    "collect": "From logs or documented Python packages to interactions.",
    "prepare": "From a log of interactions to train, val and test splits.",
    "doctor": "What is wrong with a log, and what would become of it.",
    "plan": "What a training run would take here, and its mistakes.",
    "train": "From a dataset and a base model to a LoRA adapter.",
    "convert": "From an adapter to a merged, checked and quantised GGUF.",
    "evaluate": "Base and tuned model on held-out tasks, and the verdict.",
    "verify": "Every number of an evaluation, made again from its report.",
    "run": "All stages in order; only those whose inputs changed.",
    "demo": "The whole run on an embedded model, in minutes.",
    "sandbox": "Test the place where generated code is run.",
    "llama-cpp": "Find the llama.cpp tools, or build them once.",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line. Gives the exit code."""
    return guarded(
        lambda: application(arguments)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        ),
        arguments,
    )


def guarded(act: Callable[[], object], arguments: Sequence[str]) -> int:
    """The exit code of an act; errors of the user's are said and never show a traceback."""
    try:
        result = act()
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except (CycloptsError, JourneymanError, OSError, MemoryError, KeyboardInterrupt) as error:
        return _failed(_named(error, arguments))
    return result if isinstance(result, int) else 0


def _named(error: BaseException, arguments: Sequence[str]) -> JourneymanError:
    """Any error that a user can cause, as one of ours: message, hint and exit code."""
    match error:
        case JourneymanError():
            return error
        case CycloptsError():
            return UsageError(_sentence(error), hint=_help_hint(arguments))
        case KeyboardInterrupt():
            return Interrupted("stopped", hint="the same command goes on from here")
        case OSError(filename=filename, strerror=reason):
            where = f"`{filename}`: " if filename else ""
            return MachineError(
                f"{where}{reason or error}", hint="check the path, its permissions and the space"
            )
        case _:
            return MachineError("not enough memory", hint="try `--batch-size 1`")


def application(arguments: Sequence[str]) -> App:
    """The parser of one command line, with every place that a value may come from."""
    app = App(
        name="journeyman",
        help="A coding agent's logged work in; a small local model that has learned it out.",
        version=__version__,
        config=(
            Env("JOURNEYMAN_", show=False),
            Toml("journeyman.toml", search_parents=True),
            *named_values(arguments),
        ),
        suppress_keyboard_interrupt=False,
    )
    for place, (name, text) in enumerate(COMMANDS.items()):
        module = name.replace("-", "_")
        target = "app" if name in ("collect", "sandbox") else module
        app.command(f"journeyman.cli.{module}:{target}", name=name, help=text, sort_key=place)
    return app


def _failed(error: JourneymanError) -> int:
    with Console() as console:
        console.error(error)
    return error.exit_code


def _sentence(error: CycloptsError) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _help_hint(arguments: Sequence[str]) -> str:
    command = next((word for word in arguments if word in COMMANDS), "")
    return f"see `journeyman {command} --help`".replace("  ", " ").replace(" -", " -")
