"""The command line: the commands, where their values come from, and how errors end.

A value is taken from the first of: the flag, `JOURNEYMAN_COMMAND_FLAG` in the environment, the
command's table in `journeyman.toml`, `--config` or `--preset` of `train` and `plan`, and the
default in `journeyman.settings`. A command's module is imported only when the command runs, so
that `--help` stays fast.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError
from cyclopts.config import Env, Toml

from journeyman import __version__
from journeyman.cli.presets import config_and_preset
from journeyman.console import Console
from journeyman.errors import Interrupted, JourneymanError, MachineError, UsageError

COMMANDS = {
    "collect": "Collect interactions from logs or from documented Python packages.",
    "prepare": "Turn a log of interactions into train, val and test splits.",
    "doctor": "Report what is wrong with a log and what would happen to each row.",
    "plan": "Forecast a training run on this machine and warn about mistakes.",
    "train": "Train a LoRA adapter for a base model on a dataset.",
    "convert": "Merge an adapter into its base model, quantise it to GGUF and check the result.",
    "evaluate": "Compare base and tuned model on held-out tasks and give a verdict.",
    "verify": "Recompute every number of an evaluation from its report.",
    "run": "Run all stages in order, except those whose inputs have not changed.",
    "demo": "Run all stages on a small built-in model, in minutes.",
    "sandbox": "Test the sandbox that runs generated code.",
    "llama-cpp": "Find the llama.cpp tools, or build them once.",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    return exit_code_of(
        lambda: application(arguments)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        ),
        arguments,
    )


def exit_code_of(command: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. An error that a user can cause has no traceback."""
    try:
        result = command()
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except (CycloptsError, JourneymanError, OSError, MemoryError, KeyboardInterrupt) as error:
        ours = _journeyman_error(error, arguments)
        with Console() as console:
            console.error(ours)
        return ours.exit_code
    return result if isinstance(result, int) else 0


def _journeyman_error(error: BaseException, arguments: Sequence[str]) -> JourneymanError:
    """The error with this project's message, hint and exit code."""
    match error:
        case JourneymanError():
            return error
        case CycloptsError():
            return UsageError(_message(error), hint=f"see `{_help_command(arguments)}`")
        case KeyboardInterrupt():
            return Interrupted("stopped", hint="run the same command again to continue")
        case OSError(filename=filename, strerror=reason):
            where = f"`{filename}`: " if filename else ""
            return MachineError(
                f"{where}{reason or error}",
                hint="check the path, its permissions and the free disk space",
            )
        case _:
            return MachineError("out of memory (OOM)", hint="try `--batch-size 1`")


def application(arguments: Sequence[str]) -> App:
    """The parser of one command line, with every source of values."""
    app = App(
        name="journeyman",
        help="Train a small local model on the logged work of a coding agent, and prove it.",
        version=__version__,
        config=(
            Env("JOURNEYMAN_", show=False),
            Toml("journeyman.toml", search_parents=True),
            *config_and_preset(arguments),
        ),
        suppress_keyboard_interrupt=False,
    )
    for number, (name, text) in enumerate(COMMANDS.items()):
        module = name.replace("-", "_")
        target = "app" if name in ("collect", "sandbox") else module
        app.command(f"journeyman.cli.{module}:{target}", name=name, help=text, sort_key=number)
    return app


def _message(error: CycloptsError) -> str:
    """The parser's message as one line in lower case, without a full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _help_command(arguments: Sequence[str]) -> str:
    command = next((word for word in arguments if word in COMMANDS), None)
    return f"journeyman {command} --help" if command else "journeyman --help"
