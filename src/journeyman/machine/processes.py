"""Child processes: run a program with a log, and end children together with this process.

A child ends with its parent even if the parent is killed (PR_SET_PDEATHSIG, Linux), so that no
compiler or server is left behind. The kernel ties this to the thread that started the child: start
it from a thread that lives as long as the child must.
"""

import ctypes
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from journeyman.errors import JourneymanError, MachineError

_PR_SET_PDEATHSIG = 1

_TAIL_LINES = 12

_GRACE_S = 10.0

_NEEDED = """
PATH HOME USER LANG LC_ALL LC_CTYPE TMPDIR TZ LD_LIBRARY_PATH VIRTUAL_ENV CC CXX OMP_NUM_THREADS
OMP_PROC_BIND OMP_PLACES GOMP_CPU_AFFINITY CUDA_VISIBLE_DEVICES
"""

_KEPT_VARIABLES = frozenset(_NEEDED.split())


def plain_environment(**added: str) -> dict[str, str]:
    """The environment variables that a program needs to run, without other settings or secrets.

    `LLAMA_ARG_*` from the user's shell would otherwise change how a server runs.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
    return {**kept, **added}


def end_with_parent() -> Callable[[], None]:
    """A `preexec_fn` after which the kernel sends SIGTERM to the child when this process ends."""
    # Looked up before the fork: between fork and exec only the call itself is safe.
    call = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_signal() -> None:
        call(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return set_signal


def run_logged(
    command: Sequence[str | Path],
    *,
    doing: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    failure: type[JourneymanError] = MachineError,
    hint: str = "",
) -> None:
    """Run a program to its end; append every line to `log` and pass it to `on_line`.

    doing: what the program does, for the error (`converting `x` to GGUF`). A carriage return ends a
    line too, so that progress bars can be read. Raises `failure` with the last lines if it fails.
    """
    arguments = [str(part) for part in command]
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as record:
        record.write(f"$ {' '.join(arguments)}\n")
        try:
            process = _start(arguments, environment)
        except OSError as error:
            raise MachineError(
                f"cannot start `{arguments[0]}` for {doing}: {error.strerror or error}"
            ) from error
        try:
            for line in process.stdout or ():
                record.write(line)
                if line.strip():
                    tail.append(line.strip())
                    on_line(line.strip())
            code = process.wait()
        finally:
            end_process(process, group=True)
    if code != 0:
        raise failure(
            f"{doing} failed: `{Path(arguments[0]).name}` {describe_exit(code)}: "
            + " | ".join(tail),
            hint=f"the full log is `{log}`" + (f"; {hint}" if hint else ""),
        )


def _start(
    arguments: Sequence[str], environment: Mapping[str, str] | None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=None if environment is None else dict(environment),
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=end_with_parent(),  # noqa: PLW1509
    )


def describe_exit(code: int) -> str:
    """How a process ended, in words: `ended with code 3` or `was ended by SIGTERM`."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    reason = " (often because the system ran out of memory)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{reason}"


def end_process(
    process: "subprocess.Popen[str] | subprocess.Popen[bytes]", *, group: bool = False
) -> None:
    """End a process that may still run: SIGTERM, wait, SIGKILL; with `group`, its children too."""
    send = os.killpg if group else os.kill
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        send(process.pid, number)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()


def log_tail(path: Path, lines: int = 6) -> str:
    """The last lines of a log, joined for an error message; empty if there is no log."""
    try:
        data = path.read_bytes()[-8192:]
    except OSError:
        return ""
    text = data.decode("utf-8", "replace").strip().splitlines()
    return " | ".join(line.strip() for line in text[-lines:])
