"""A report made by hand: small, and with something in each of its parts."""

import msgspec

from journeyman.prepare.records import (
    DuplicateGroup,
    Duplicates,
    FileCheck,
    Flow,
    Lengths,
    LoggedBaseline,
    ProducerReport,
    Report,
    RoleReport,
    RuleExample,
    RuleReport,
    Source,
    SplitReport,
    Totals,
)
from journeyman.prepare.rules.registry import ALL_RULES


def rule_report(**changes: object) -> RuleReport:
    """A rule that found three cut-off answers of which two are masked."""
    seen = RuleExample(7, "id7", "no end of a sentence", "It ends in the", "It ends in the")
    rule = RuleReport(
        "cut-off", "warning", "the answer ends in the middle", "mask", 3, 0, 2, 1, 0, 0,
        ("id7", "id8", "id9"), (seen,),
    )  # fmt: skip
    return msgspec.structs.replace(rule, **changes)


def rules_with(*found: RuleReport) -> tuple[RuleReport, ...]:
    """Every rule, as in every report; all but the given ones found nothing."""
    by_id = {rule.id: rule for rule in found}
    return tuple(
        by_id.get(known.id)
        or RuleReport(known.id, known.level, known.meaning, "keep", 0, 0, 0, 0, 0, 0, (), ())
        for known in ALL_RULES
    )


def small_report(**changes: object) -> Report:
    """Ten lines: five kept whole (one with a secret hidden), two masked, three left out."""
    report = Report(
        source=Source("log.jsonl", "ab" * 32, 10),
        policy="salvage",
        totals=Totals(kept=5, masked=2, dropped=2, quarantined=1, redacted=1),
        flows=(
            Flow("kept", "", 5),
            Flow("masked", "cut-off", 2),
            Flow("dropped", "failed", 2),
            Flow("quarantined", "", 1),
        ),
        rules=rules_with(rule_report()),
        lengths=(
            Lengths("maker/model", "tokens", 480, 5, (1, 0, 1, 1, 5), 8, 500, 5, "qwen2", "why"),
        ),
        duplicates=Duplicates(
            1, 0, 2, 1, 1, 0, 0, True, (DuplicateGroup("g", (1, 4), 2, 1, ("Add two numbers.",)),)
        ),
        roles=(RoleReport("coder", 4, 1, 1, 2), RoleReport("tester", 1, 0, 0, 1)),
        splits=(
            SplitReport("train", 5, 4, 2, 1, 120, 900, 0),
            SplitReport("val", 1, 1, 0, 0, 80, 80, 0),
            SplitReport("test", 1, 1, 0, 0, 90, 90, 0),
        ),
        producers=(
            ProducerReport("maker/model", 9, 7, "forbids", "Model 2", "says no", "https://x.test/"),
        ),
        usable=5,
        permitted=0,
        both=0,
        baseline=LoggedBaseline(8, 10, 8, 20.1, 18.0),
        checks=(FileCheck("no group in two splits", True, "6 groups"),),
        settings={"seed": "42"},
        unknown=("Answers of `other` were not counted: no vocabulary.",),
    )
    return msgspec.structs.replace(report, **changes)
