"""Where the dataset comes from, and how to make it again."""

import shlex

from journeyman.pages.markup import Html, element
from journeyman.pages.parts import card, list_section, section
from journeyman.prepare.records import LEDGER, METADATA, Baseline, Report


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
        section(
            "Make it again",
            element("pre", _command(report)),
            element(
                "p",
                "Equal log, settings and version give equal files. What became of every single"
                f" line stands in {LEDGER}; what this page shows stands in {METADATA}.",
                class_="soft",
            ),
        ),
    ]


def _baseline(base: Baseline) -> list[str]:
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


def _command(report: Report) -> str:
    """The command with every setting whose name is an option's, quoted for a shell."""
    words = ["journeyman", "prepare" if report.splits else "doctor"]
    words += ["--input", shlex.quote(report.source.path), "--policy", shlex.quote(report.policy)]
    return " ".join(words)
