"""The dataset's page: hostile text stays text, and what it says is what the report says."""

import html.parser
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journeyman.prepare.records import FileCheck, Flow, Report, RuleExample, Totals
from journeyman.prepare.report.page import actions, outcome, page, sentence
from journeyman.prepare.stage import command_of
from journeyman.settings import PrepareSettings
from tests.reports import rule_report, rules_with, small_report

HOSTILE = (
    "</pre></style></script><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\" ' onload=alert(1) & \x1b[31mred \u202eevil\u2069 \x00 \ud83d }*{background:url(//x)}"
    "<svg/onload=alert(1)><!-- ]]> &lt;b&gt; " + "x" * 10_000
)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Parsed(html.parser.HTMLParser):
    """Tags and attributes as a browser would see them, and the text outside the style sheet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.words: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        (self.styles if self._in_style else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def poisoned(value: Any) -> Any:
    """The same report with hostile text wherever it holds text that is not a word of ours."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(map(poisoned, value))
    if isinstance(value, dict):
        return {HOSTILE: HOSTILE} if value else {}
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **{k: poisoned(v) for k, v in fields.items()})
    return value


def with_words_kept(report: Report) -> Report:
    """Hostile but for actions and rule ids, whose values are the program's own."""
    bad: Report = poisoned(report)
    pairs = zip(bad.flows, report.flows, strict=True)
    flows = tuple(Flow(good.action, one.reason, one.rows) for one, good in pairs)
    named = zip(bad.rules, report.rules, strict=True)
    rules = tuple(msgspec.structs.replace(one, id=good.id) for one, good in named)
    return msgspec.structs.replace(bad, flows=flows, rules=rules)


def test_hostile_text_makes_no_element_and_no_attribute() -> None:
    clean, bad = Parsed(page(small_report())), Parsed(page(with_words_kept(small_report())))
    # Excerpts and the like may be shown in other elements of ours, but in none of another kind.
    assert bad.tags <= clean.tags | {"del", "ins", "mark"}
    assert bad.attributes <= clean.attributes
    assert not {"script", "img", "a", "iframe", "link", "foreignobject"} & bad.tags
    assert "alert(1)" in bad.text


def test_hostile_text_does_not_reach_the_style_sheet() -> None:
    clean, bad = Parsed(page(small_report())), Parsed(page(with_words_kept(small_report())))
    assert bad.styles == clean.styles
    assert "style" not in bad.attributes


def test_nothing_unseen_and_nothing_that_cannot_be_written_is_left() -> None:
    text = page(with_words_kept(small_report()))
    assert not UNSEEN.search(text)
    assert text.encode("utf-8")
    assert "␛[31m" in text
    assert "⟨U+202E⟩" in text


def test_of_a_very_long_line_the_ends_are_shown_and_the_missing_characters_counted() -> None:
    seen = RuleExample(1, "id", "", "begin" + "x" * 10_000 + "the end", "")
    text = page(small_report(rules=rules_with(rule_report(id="refusal", examples=(seen,)))))
    assert "begin" in text
    assert "the end" in text
    assert "8,412 characters not shown" in text  # 10,012 without two halves of 800


def test_the_page_may_load_and_run_nothing_and_leads_nowhere() -> None:
    parsed, text = Parsed(page(small_report())), page(small_report())
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not {"script", "a", "link", "img", "iframe", "use", "image"} & parsed.tags
    assert not {"href", "src", "xlink:href", "style"} & parsed.attributes
    # The only addresses in the style sheet are patterns in the page itself.
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_each_pattern_that_the_style_sheet_names_is_in_the_page() -> None:
    text = page(small_report())
    named = set(re.findall(r"url\(#(\w+)\)", text))
    assert named == set(re.findall(r'<pattern id="(\w+)"', text))


def test_the_first_words_say_what_came_out_and_why_the_rest_did_not() -> None:
    assert outcome(small_report()) == "7 of 10 rows are used"
    assert sentence(small_report()) == (
        "5 as they are, 2 without training their end, 1 of both with secrets redacted;"
        " 3 left out (failed 2, quarantined 1)."
    )


def test_a_clean_log_asks_for_nothing() -> None:
    report = small_report(
        totals=Totals(10, 0, 0, 0), flows=(Flow("kept", "", 10),), rules=rules_with(), lengths=(),
        producers=(), duplicates=msgspec.structs.replace(
            small_report().duplicates, exact_groups=0, contradicting=0, examples=()
        ),
    )  # fmt: skip
    assert actions(report) == []
    text = Parsed(page(report)).text
    assert "nothing to act on" in text
    assert "10 as they are; none is left out" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checks": (FileCheck("no group twice", False, "`g` is"),)}, "no group twice: `g` is"),
        (
            {"rules": rules_with(rule_report(kept=2))},
            "cut off, and the model will learn to stop there",
        ),
        ({"rules": rules_with(rule_report(id="mock"))}, "2 of 7 answers (29%) come from a mock"),
        ({}, "2 of 7 answers (29%) are cut off; their end of turn is not trained"),
        ({}, "7 of 7 answers (100%) come from models whose terms forbid"),
        (
            {"rules": rules_with(rule_report(kept=0, masked=0, dropped=3))},
            "3 cut-off answers are left out",
        ),
    ],
)
def test_what_needs_action_comes_first(changes: dict[str, Any], words: str) -> None:
    assert words in " ".join(one.text for one in actions(small_report(**changes)))


def test_a_failed_check_comes_before_everything_else() -> None:
    report = small_report(checks=(FileCheck("no group in two splits", False, "2 groups"),))
    assert "no group in two splits" in actions(report)[0].text
    assert "FAILED" in page(report)


def test_the_cap_is_marked_and_named_in_the_picture() -> None:
    text = page(small_report())
    # Bars of 5 from 480: lengths 497 to 502 stand in the last two of the five...
    assert text.count('class="bar masked"') == 2 + 1  # ...and the flow's bar of masked rows
    assert "limit 500: 5 cut off" in text


def test_a_cap_on_characters_marks_the_bar_of_just_that_length() -> None:
    chart = msgspec.structs.replace(small_report().lengths[0], unit="characters")
    text = page(small_report(lengths=(chart,)))
    assert text.count('class="bar masked"') == 1 + 1  # 500..504 alone, and the flow's bar


def test_the_place_of_a_cut_is_marked_and_that_its_end_is_not_trained() -> None:
    text = Parsed(page(small_report())).text
    assert "It ends in the ✂ the answer stops here" in text
    assert "no end of turn is trained" in text


def test_of_a_long_cut_off_answer_the_end_is_shown() -> None:
    seen = RuleExample(7, "id7", "", "begin " + "line\n" * 500 + "and then the", "")
    text = Parsed(page(small_report(rules=rules_with(rule_report(examples=(seen,)))))).text
    assert "line and then the ✂" in text
    assert "begin" not in text


def test_what_was_hidden_is_marked_on_both_sides() -> None:
    seen = RuleExample(2, "id2", "a key", "key = 'sk-1…' # here", "key = '[SECRET]' # here")
    text = page(small_report(rules=rules_with(rule_report(id="secret", examples=(seen,)))))
    assert "<pre>key = &#39;<del>sk-1…</del>&#39; # here</pre>" in text
    assert "<ins>[SECRET]</ins>" in text


def test_a_row_that_is_not_in_the_dataset_says_so() -> None:
    seen = RuleExample(2, "id2", "a stand-in", "Mock response", "")
    text = page(small_report(rules=rules_with(rule_report(id="mock", examples=(seen,)))))
    assert "not in the dataset" in text


def test_a_log_that_was_only_looked_at_has_no_splits_and_a_page() -> None:
    report = small_report(roles=(), splits=(), checks=())
    text = Parsed(page(report)).text
    assert "7 of 10 rows would be used" in text
    assert "The splits" not in text


def test_a_report_of_nothing_is_a_page_too() -> None:
    report = small_report(
        source=msgspec.structs.replace(small_report().source, lines=0),
        totals=Totals(0, 0, 0, 0), flows=(), rules=rules_with(), lengths=(), roles=(), splits=(),
        producers=(), checks=(), settings={}, unknown=(),
    )  # fmt: skip
    assert "0 of 0 rows" in page(report)


def test_many_reasons_end_in_one_bar_for_the_others() -> None:
    flows = tuple(Flow("dropped", f"reason-{number}", 1) for number in range(10))
    text = Parsed(page(small_report(flows=flows))).text
    assert "other reasons 3" in text


def test_the_command_makes_the_same_again_and_is_quoted_for_a_shell() -> None:
    settings = PrepareSettings(policy="strict", seed=7, output_dir=Path("my data"))
    assert command_of(settings, Path("a log.jsonl")) == (
        "journeyman prepare --input 'a log.jsonl' --output-dir 'my data' --policy strict --seed 7"
    )
    assert "--seed 7" in page(small_report(command=command_of(settings, Path("x"))))
