"""The page holds hostile text without letting it out."""

import html.parser

from journeyman.evaluate.records.evaluation import (
    Arm,
    ArmResult,
    Contamination,
    Environment,
    Evaluation,
    EvaluationPlan,
    Verdict,
)
from journeyman.evaluate.records.measurements import Latency
from journeyman.evaluate.records.scores import EvaluationTask, Item, Rung, Score, ScoredItem
from journeyman.evaluate.report.page import page
from journeyman.records import Answer, Message
from journeyman.stats import wilson

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & \x1b[31m {{ 6*7 }}"
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3", "p"),
    *("b", "strong", "code", "ul", "li", "div", "span", "table", "thead", "tbody", "tr", "th"),
    *("td", "svg", "line", "circle", "polyline", "text", "details", "summary", "pre", "ins", "del"),
}


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def hostile_evaluation() -> Evaluation:
    item = Item("tuned", "t", Answer(HOSTILE, "stop"))
    scored = ScoredItem(item, (Score("S1", False, HOSTILE, HOSTILE),), HOSTILE)
    rung = Rung("S1", "finished", HOSTILE, wilson(0, 1), {HOSTILE: 1}, HOSTILE)
    arm = Arm("tuned", HOSTILE, "llama.cpp", "ab", HOSTILE, HOSTILE, HOSTILE)
    return Evaluation(
        verdict=Verdict("INVALID", HOSTILE, (), (HOSTILE,), (HOSTILE,), (HOSTILE,)),
        plan=EvaluationPlan(HOSTILE, "cd", 1, 1, 1, 0, 8, None, 1, None),
        environment=Environment(HOSTILE, {HOSTILE: HOSTILE}, None, "none", "now"),
        leak=Contamination(),
        arms=(ArmResult(arm, 1, (rung,), Latency(1, 0), None, None, {}),),
        tasks=(EvaluationTask("t", "c", HOSTILE, HOSTILE, (Message("user", HOSTILE),)),),
        items=(scored,),
    )


def test_hostile_text_makes_no_element_and_no_attribute() -> None:
    text = page(hostile_evaluation())
    seen = Tags()
    seen.feed(text)
    assert seen.tags <= ALLOWED
    assert not {name for name in seen.attributes if name.startswith("on") or name == "src"}
    assert "alert(1)" in text  # it is shown, as text
    assert "{{ 6*7 }}" in text


def test_the_page_may_load_and_run_nothing() -> None:
    text = page(hostile_evaluation())
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "http" not in text.replace("http-equiv", "")
