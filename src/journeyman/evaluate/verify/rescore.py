"""`journeyman evaluate --rescore`: score the answers of a result again, without asking a model.

For a changed rubric, a sandbox that was missing, or checks with other limits. Tasks, answers and
latencies are the stored ones; likelihood and divergence stay as they are.
"""

from msgspec.structs import replace

from journeyman.errors import UsageError
from journeyman.evaluate.measuring.check_trust import counted_tasks, try_checks
from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.suites import Suite
from journeyman.evaluate.scoring.ladder import find_checker, score_all
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites.suite_tasks import score_suite, stored_tasks
from journeyman.evaluate.verdict.conclude import conclude
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import findings_of
from journeyman.events import Reporter
from journeyman.settings import EvaluateSettings


def rescore(settings: EvaluateSettings, report: Reporter) -> Evaluation:
    """The result in `settings.output` with its answers scored again. Raises UsageError."""
    stored = read_report(settings.output)
    if not stored.items:
        raise UsageError(
            f"`{settings.output}` holds no answers to score", hint="evaluate without `--rescore`"
        )
    tasks = [*stored.tasks, *(task for suite in stored.suites for task in suite.tasks)]
    checker = find_checker(tasks, report, profile=settings.sandbox)
    tried = try_checks(stored.tasks, checker.run, report)
    items = [one.item for one in stored.items]
    scored = score_all(items, counted_tasks(stored.tasks, tried), checker.run, report)
    findings = replace(
        findings_of(stored),
        environment=replace(
            stored.environment, sandbox=checker.profile, self_test=checker.self_test
        ),
        items=tuple(scored),
        canaries=tried,
        suites=tuple(
            _rescore_suite(suite, checker.run, report, stored.plan.alpha) for suite in stored.suites
        ),
    )
    return conclude(findings)


def _rescore_suite(
    suite: Suite, check_code: CheckCode | None, report: Reporter, alpha: float
) -> Suite:
    """A suite that asked the models, scored again; any other unchanged."""
    if not suite.tasks:
        return suite
    arms = [result.arm for result in suite.arms]
    items = [one.item for one in suite.items]
    return score_suite(stored_tasks(suite), arms, items, check_code, report, alpha=alpha)
