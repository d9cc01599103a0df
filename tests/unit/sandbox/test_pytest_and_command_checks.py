"""Checks that are a file of tests or a shell command, decided where the answer cannot reach."""

from pathlib import Path

import pytest

from journeyman.records import Check
from tests.sandboxes import RIGHT, check

TESTS = """
import pytest
from answer import double

@pytest.mark.parametrize("x", [1, 2.5, "ab", [1]])
def test_twice(x):
    assert double(x) == x + x

def test_refuses():
    with pytest.raises(TypeError):
        double(None)
"""
FILE = Check("pytest", TESTS, n=5)
SCRIPT = "from core import double\nassert double(2) == 4\nassert double('ab') == 'abab'\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a script and tests that import the answer."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "tests").mkdir()
    (folder / "tests" / "run.py").write_text(SCRIPT)
    (folder / "tests" / "test_core.py").write_text(TESTS.replace("answer", "core"))
    return folder


def command(repository: Path, line: str = "PYTHONPATH=. python3 tests/run.py") -> Check:
    """A check with a command in that folder."""
    return Check("command", line, n=1, file="core.py", repository=str(repository))


def test_a_right_answer_passes_a_file_of_tests() -> None:
    result = check(RIGHT, FILE)
    assert (result.passed, result.ran, result.acknowledged) == (True, 5, 0), result


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def test_nothing(): pass",
        "import pytest as p\n@p.mark.skip\ndef test_a(): 0\n@p.mark.xfail\ndef test_b(): 1/0",
        "import pytest\npytest.skip('all of it', allow_module_level=True)",
    ],
    ids=["empty", "fewer than promised", "skipped", "skipped as a whole"],
)
def test_a_file_that_runs_too_few_tests_is_never_passed(source: str) -> None:
    result = check(RIGHT, Check("pytest", source, n=2))
    assert (result.passed, result.failure) == (False, "no-tests")


def test_classes_exceptions_and_changed_arguments_reach_the_tests() -> None:
    code = """
class Full(ValueError): pass
class Box:
    def __init__(self, room): self.room, self.things = room, []
    def put(self, thing):
        if len(self.things) == self.room: raise Full("no room")
        self.things.append(thing)
    def __len__(self): return len(self.things)
    def __iter__(self): return iter(self.things)
def sort(items): items.sort()
"""
    tests = """
import pytest
from answer import Box, Full, sort
def test_box():
    box = Box(1)
    box.put(3)
    assert (len(box), list(box), box.room) == (1, [3], 1) and isinstance(box, Box)
    with pytest.raises(Full, match="no room"):
        box.put(4)
def test_sort():
    items = [2, 1]
    sort(items)
    assert items == [1, 2]
"""
    result = check(code, Check("pytest", tests, n=2))
    assert result.passed, result


def test_a_right_answer_passes_a_command_which_is_acknowledged(repository: Path) -> None:
    result = check(RIGHT, command(repository))
    assert (result.passed, result.ran, result.acknowledged) == (True, 1, 1), result
    assert not (repository / "core.py").exists()


def test_a_command_may_be_pytest(repository: Path) -> None:
    result = check(RIGHT, command(repository, "python3 -m pytest -q tests"))
    assert result.passed, result


def test_an_object_that_equals_everything_does_not_pass_a_command(repository: Path) -> None:
    liar = "class Liar:\n    def __eq__(self, other): return True\ndef double(x): return [Liar()]\n"
    what = command(repository, "python3 -c 'from core import double; assert double(1) == [2]'")
    assert check(liar, what).failure == "canary"


@pytest.mark.parametrize("line", ["true", "", "python3 tests/run.py; exit 0"])
def test_a_command_that_passes_without_an_answer_proves_nothing(
    line: str, repository: Path
) -> None:
    assert check(RIGHT, command(repository, line)).failure == "no-tests"


@pytest.mark.parametrize("file", ["/etc/passwd", "../core.py", "", "a/../../b"])
def test_a_file_outside_of_the_repository_is_refused(file: str, repository: Path) -> None:
    what = Check("command", "false", n=1, file=file, repository=str(repository))
    assert check(RIGHT, what).failure == "no-tests"


def test_a_link_in_a_repository_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "link").symlink_to(tmp_path / "secret")
    what = command(tmp_path / "repository", "test -e core.py && cat link")
    result = check(RIGHT, what)
    assert result.failure == "command"
    assert "sesame" not in result.detail
