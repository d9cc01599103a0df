"""What all tests share: a ledger of test-set uses of their own, a quiet machine, counted skips."""

import itertools
import os
from pathlib import Path

import hypothesis
import pytest

from journeyman.machine.load import ProcessorUsage
from tests.needs import forbidden, reason_of, summary

# The same examples every time, and no verdict on speed: a busy machine is no fault of the code.
hypothesis.settings.register_profile(
    "journeyman",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("journeyman")


@pytest.fixture(autouse=True)
def _own_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test makes another one's look a later one."""
    monkeypatch.setenv("JOURNEYMAN_LOOKS", str(tmp_path / "looks"))


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's counters as they are when only we use the processor."""
    seconds = itertools.count()

    def reading() -> ProcessorUsage:
        now = float(next(seconds))
        return ProcessorUsage(at_s=now, all_s=now, own_s=now)

    monkeypatch.setattr("journeyman.evaluate.asking.answers.processor_usage", reading)


# What takes longest begins first, so that no worker ends with it alone.
_FIRST = ("tests/slow/", "tests/unit/sandbox/test_attacks", "tests/end_to_end/")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers one thread; more would wait for each other."""
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    places = {prefix: place for place, prefix in enumerate(_FIRST)}

    def place(item: pytest.Item) -> int:
        return next((at for x, at in places.items() if item.nodeid.startswith(x)), len(places))

    items.sort(key=place)


def _skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [reason_of(one) for one in reporter.stats.get("skipped", [])] if reporter else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that may not skip; workers of xdist leave that to the process above them."""
    if not hasattr(session.config, "workerinput") and forbidden(_skips(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what was skipped, and what would bring it."""
    reasons = _skips(config)
    if reasons:
        terminalreporter.section("skipped here")
        terminalreporter.write_line("\n".join(summary(reasons)))
    for reason in forbidden(reasons):
        terminalreporter.write_line(f"error: may not be skipped here: {reason}", red=True)
