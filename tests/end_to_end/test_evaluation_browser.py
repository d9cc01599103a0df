"""The page in a real browser: nothing runs, nothing is loaded, nothing is wider than a phone.

Skipped without Chromium.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import sync_playwright

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.scores import Score, ScoredItem
from journeyman.evaluate.report.page import page
from journeyman.evaluate.stage import evaluate
from journeyman.evaluate.verdict.conclude import conclude
from journeyman.evaluate.verify.recompute import findings_of
from journeyman.records import Answer
from tests.evaluations import RIGHT, WRONG, engines, rows, settings_in
from tests.needs import missing
from tests.scripted_engine import said
from tests.waiting import HANG_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=missing("Chromium"))

HOSTILE = (
    "</pre></textarea><script>document.title='run'</script><img src=x onerror=\"document.title='"
    "run'\"><svg onload=\"document.title='run'\"><style>body{display:none}</style>"
    "\x1b[31m\u202eleft <a href='javascript:document.title=1'>x</a>\n"
)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Eight tasks; both models say hostile things, and one answer goes wrong."""
    context = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("browser")
    context.setenv("JOURNEYMAN_LOOKS", str(folder / "looks"))

    def tuned(prompt: str) -> Answer:
        return said(HOSTILE + (WRONG if prompt.startswith("Task number 2") else RIGHT))

    settings = settings_in(folder, rows(8, checks=1), suites="held-out", sandbox="none")
    result = evaluate(settings, open_engine=engines(tuned, lambda _: said(HOSTILE + WRONG)))
    context.undo()
    items = tuple(as_if_run(item) for item in result.items)
    environment = replace(result.environment, sandbox="strict")
    return conclude(replace(findings_of(result), items=items, environment=environment))


def as_if_run(item: ScoredItem) -> ScoredItem:
    """An item as a sandbox would leave it, whose messages are hostile, too."""
    passed = "2 * x" in item.code
    ran = Score("S4", passed, "" if passed else HOSTILE, "" if passed else HOSTILE)
    return replace(item, scores=(*(one for one in item.scores if one.rung != "S4"), ran))


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A browser of the system; as root it cannot have its own sandbox."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=HANG_S * 1000
        )
        yield started
        started.close()


@pytest.fixture
def shown(evaluation: Evaluation, browser: object, tmp_path: Path) -> Iterator[object]:
    """The page at a phone's width, with every request that it makes in `asked`."""
    path = tmp_path / "evaluation.html"
    path.write_text(page(evaluation), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 360, "height": 800})  # type: ignore[attr-defined]
    tab.set_default_timeout(HANG_S * 1000)
    tab.asked = []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    yield tab
    tab.close()


def test_hostile_answers_run_nothing_and_load_nothing(shown: object) -> None:
    assert shown.title().startswith("ITERATE")  # type: ignore[attr-defined]
    assert len(shown.asked) == 1  # type: ignore[attr-defined]
    count = "document.querySelectorAll('script, img, a, iframe, object, form, textarea').length"
    assert shown.evaluate(count) == 0  # type: ignore[attr-defined]
    assert shown.evaluate("document.querySelectorAll('style').length") == 1  # type: ignore[attr-defined]


def test_hostile_answers_are_shown_as_they_are(shown: object) -> None:
    text = shown.inner_text("main")  # type: ignore[attr-defined]
    assert "<script>document.title='run'</script>" in text
    assert "⟨U+202E⟩left" in text
    assert "␛[31m" in text


def test_a_phone_shows_it_without_scrolling_sideways(shown: object) -> None:
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360  # type: ignore[attr-defined]


def test_each_part_is_there_and_seen(shown: object) -> None:
    titles = shown.locator("h2").all_inner_texts()  # type: ignore[attr-defined]
    for title in (
        "Criteria",
        "What these numbers can and cannot claim",
        "May these numbers be used?",
        "Rungs",
        "Base and tuned on the same tasks",
        "Latency",
        "Memory",
        "Every task",
        "Where this comes from",
    ):
        assert title in titles
    assert shown.locator("svg.chart").first.is_visible()  # type: ignore[attr-defined]


def test_states_are_read_without_colour(shown: object) -> None:
    cells = shown.locator(".criteria td:first-child").all_inner_texts()  # type: ignore[attr-defined]
    assert {"PASS", "INCONCLUSIVE", "FAIL", "holds", "not known"} >= set(cells)
    assert len(cells) > 8


def test_a_fixed_task_shows_what_changed(shown: object) -> None:
    fixed = shown.locator("details", has_text="fixed S4").first  # type: ignore[attr-defined]
    assert "return x ** 2" in fixed.locator(".diff del").all_inner_texts()[-1]
    assert "return 2 * x" in fixed.locator(".diff ins").all_inner_texts()[-1]
