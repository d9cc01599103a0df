"""Documented functions become tasks: the prompt, the answer, and the hidden check."""

import json
import textwrap
from pathlib import Path

import pytest

from journeyman.collect.python.package_source import read_package
from journeyman.collect.python.stage import FunctionCollection, collect_python
from journeyman.data.interactions import read_interactions
from journeyman.errors import DataRefused, UsageError
from journeyman.events import Caution, Event
from journeyman.files import LineFault
from journeyman.records import Interaction
from journeyman.sandbox.checks import run_check
from journeyman.settings import CollectPythonSettings
from tests.sandboxes import sandbox

SHAPES = '''
    """Some shapes."""
    from functools import cache
    from math import pi as PI
    import os.path
    from .helpers import half as halved, LIMIT
    from .helpers import *

    def area(radius):
        """Area of a circle, rounded. Never negative.

        Give the radius in metres::

            >>> area(1)
            3.1
            >>> from shapes import edge
            >>> edge(area(2))
            6.3
        """
        # pi r r
        return round(PI * radius * radius, 1)

    @cache
    def edge(n):
        """Half of a number.

        >>> edge(LIMIT)
        5.0
        >>> edge(12.6)
        6.3
        """
        return halved(n) if n else starred()

    def wrong(n):
        """Prints something else.

        >>> wrong(1)
        2
        """
        return n

    def shown(n):
        """Says how it is done.

        return sorted([n, n + 1, n + 2])

        >>> shown(1)
        [1, 2, 3]
        """
        return sorted([n, n + 1, n + 2])

    def alike(n):
        """As if it were written so::

            def alike(n): ...

        >>> alike(1)
        1
        """
        return n

    def chance():
        """Something by chance.

        >>> chance()  # doctest: +SKIP
        0.25
        """
        return 0.25

    def nothing(n):
        """Gives None.

        >>> print(nothing(1))
        None
        """
        return None

    def undocumented(n):
        return n

    def bare(n):
        """
        >>> bare(1)
        1
        """
        return n

    def _private(n):
        """Not public.

        >>> _private(1)
        1
        """
        return n
'''
HELPERS = '''
    LIMIT = 10

    def half(n):
        """Half of it.

        This goes on for a while.
        """
        return n / 2

    def starred():
        return half(0)
'''


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site" / "shapes"
    (folder / "tests").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .shapes import *\n")
    (folder / "shapes.py").write_text(textwrap.dedent(SHAPES))
    (folder / "helpers.py").write_text(textwrap.dedent(HELPERS))
    (folder / "tests" / "test_shapes.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    return tmp_path / "out" / "interactions.jsonl"


def _collected(
    output: Path, *, verify: bool = False, show: bool = False
) -> tuple[FunctionCollection, dict[str, Interaction]]:
    settings = CollectPythonSettings(output=output, verify=verify, show_examples=show)
    collected = collect_python(["shapes"], settings)
    rows = [row for row in read_interactions(output) if not isinstance(row, LineFault)]
    return collected, {(row.task_id or "").rpartition(".")[2]: row for row in rows}


def test_every_function_found_is_kept_or_left_out_with_a_reason(shapes: Path) -> None:
    collected, rows = _collected(shapes)
    reasons = {item.task_id.rpartition(".")[2]: item.reason for item in collected.left_out}
    assert collected.found == collected.kept + len(collected.left_out) == 7
    assert set(rows) == {"area", "edge", "wrong", "nothing"}
    assert reasons == {
        "shown": "its prose shows its source",
        "alike": "its prose shows its source",
        "chance": "it has no example with output that is not skipped",
    }


def test_a_long_answer_is_left_out_with_the_limit(shapes: Path) -> None:
    settings = CollectPythonSettings(output=shapes, verify=False, longest_answer=90)
    reasons = collect_python(["shapes"], settings).reasons()
    assert reasons["its answer is longer than 90 characters"] == 2  # area and edge need helpers


def test_the_task_holds_signature_and_prose_and_neither_examples_nor_source(shapes: Path) -> None:
    task = _collected(shapes)[1]["area"].task
    assert "def area(radius):" in task
    assert "Area of a circle, rounded. Never negative." in task
    assert "Give the radius in metres." in task
    assert ">>>" not in task
    assert "round(" not in task


def test_the_answer_is_standalone_with_all_it_needs(shapes: Path) -> None:
    answer = _collected(shapes)[1]["edge"].answer or ""
    assert answer.startswith("```python\nfrom functools import cache\n")
    assert answer.index("def half(n):") < answer.index("halved = half") < answer.index("@cache")
    assert "goes on for a while" not in answer
    assert "shapes" not in answer


def test_comments_stay_and_the_docstring_is_its_first_sentence(shapes: Path) -> None:
    answer = _collected(shapes)[1]["area"].answer or ""
    assert '    """Area of a circle, rounded."""\n    # pi r r\n' in answer


def test_an_example_that_imports_the_package_gets_a_setup_in_its_place(shapes: Path) -> None:
    check = _collected(shapes)[1]["area"].checks[0]
    assert (check.n, check.entry_point) == (2, "area")
    assert "import edge" not in check.source
    assert "def edge(n):" in check.setup
    assert "def area" not in check.setup


def test_shown_examples_are_in_the_task_and_only_the_last_is_compared(shapes: Path) -> None:
    row = _collected(shapes, show=True)[1]["edge"]
    assert ">>> edge(LIMIT)\n5.0" in row.task
    assert "6.3" not in row.task
    assert row.checks[0].source == ">>> _ = edge(LIMIT)\n>>> edge(12.6)\n6.3\n"


def test_verified_answers_pass_their_checks_and_the_others_are_named(shapes: Path) -> None:
    sandbox()
    collected, rows = _collected(shapes, verify=True)
    reasons = {item.task_id.rpartition(".")[2]: item.reason for item in collected.left_out}
    assert set(rows) == {"area", "edge"}
    assert "prints something else" in reasons["wrong"]
    assert "stub" in reasons["nothing"]
    assert {row.status for row in rows.values()} == {"success"}


def test_an_answer_passes_its_check_with_the_examples_shown_too(shapes: Path) -> None:
    row = _collected(shapes, show=True)[1]["edge"]
    code = (row.answer or "").removeprefix("```python\n").removesuffix("\n```")
    assert run_check(sandbox(), code, row.checks[0]).passed


def test_without_verification_nothing_is_called_a_success(shapes: Path) -> None:
    events: list[Event] = []
    collect_python(["shapes"], CollectPythonSettings(output=shapes, verify=False), events.append)
    assert {json.loads(line)["execution"]["status"] for line in shapes.open()} == {"unverified"}
    assert any(isinstance(event, Caution) for event in events)


def test_the_rows_say_where_they_are_from(shapes: Path) -> None:
    row = _collected(shapes)[1]["area"]
    assert (row.task_id, row.agent, row.source) == ("shapes.shapes.area", "coder", "python:shapes")
    assert (row.finish_reason, row.duration_s, row.producer) == ("stop", None, "shapes unknown")


def test_the_same_packages_give_the_same_bytes(tmp_path: Path) -> None:
    names = ["more_itertools", "toolz", "boltons"]
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    results = [
        collect_python(names, CollectPythonSettings(output=path, verify=False)) for path in files
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    # Public top-level functions with prose and `>>>`: 151 + 65 + 105 in the pinned versions.
    assert results[0].found == 321


def test_an_unknown_package_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    output = tmp_path / "x.jsonl"
    with pytest.raises(UsageError) as caught:
        collect_python(["toolz", "no-such-thing"], CollectPythonSettings(output=output))
    assert "`no-such-thing`" in caught.value.message
    assert "pip install" in caught.value.hint
    assert not output.exists()


def test_a_package_is_read_and_never_imported(shapes: Path) -> None:
    names = set(read_package("shapes").modules)
    assert names == {"shapes", "shapes.shapes", "shapes.helpers"}


@pytest.mark.parametrize("name", ["os.path", "../shapes", "math", "", "a b"])
def test_a_name_without_python_source_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        read_package(name)


def test_a_package_without_documented_functions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused):
        collect_python(["pyseccomp"], CollectPythonSettings(output=tmp_path / "x.jsonl"))
