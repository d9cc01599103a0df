"""Where the dataset comes from, and how to make it again."""

from journeyman.data.dataset import LEDGER, METADATA
from journeyman.html.markup import Html, card, coded, element, list_section, section
from journeyman.prepare.records import LoggedBaseline, Report


def origin(report: Report) -> list[Html]:
    """The system in use, the settings with the hashes, and the command."""
    source = report.source
    facts = {
        "log": source.path,
        "sha256 of the log": source.sha256,
        "lines": f"{source.lines:,}",
        "policy": report.policy,
        **report.settings,
    }
    return [
        list_section("The system that was logged", _baseline(report.baseline)),
        section("Settings and hashes", card(_pairs(facts), kind="facts")),
        section("Make it again", *_again(report.command)),
    ]


def _again(command: str) -> list[Html]:
    said = (
        "The same log, settings and version, and the same earlier dataset in the folder if there"
        " was one, give equal files. What became of every single line stands in"
        f" `{LEDGER}`; what this page shows stands in `{METADATA}`."
    )
    first = [element("pre", command)] if command else []
    return [*first, element("p", coded(said), class_="soft")]


def _baseline(base: LoggedBaseline) -> list[str]:
    lines = [f"{base.k:,} of {base.n:,} logged calls succeeded"]
    if base.mean_latency_s is not None and base.median_latency_s is not None:
        lines.append(
            f"mean {base.mean_latency_s:.1f} s, median {base.median_latency_s:.1f} s an answer"
            f" (n {base.latency_n:,})"
        )
    return lines


def _pairs(facts: dict[str, str]) -> Html:
    rows = [
        element("tr", element("th", key, scope="row"), element("td", value, class_="wraps"))
        for key, value in facts.items()
    ]
    return element("table", element("tbody", *rows))
