"""`journeyman evaluate --rescore`: the answers of a result scored again, and no model asked.

For a rubric that was mended, a sandbox that was not there, checks that have other limits now.
Tasks, answers and times are the stored ones; likelihood and divergence are not made again.
"""

from msgspec.structs import replace

from journeyman.errors import UsageError
from journeyman.evaluate.measuring.check_trust import try_canaries
from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.suites import Suite
from journeyman.evaluate.scoring.ladder import find_checker, score_all
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites.asked import asked_again, asked_result
from journeyman.evaluate.verdict.conclude import concluded
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import findings_of
from journeyman.events import Reporter
from journeyman.settings import EvaluateSettings


def rescored(settings: EvaluateSettings, report: Reporter) -> Evaluation:
    """The result in `settings.output` with its answers scored again. Raises UsageError."""
    stored = read_report(settings.output)
    if not stored.items:
        raise UsageError(
            f"`{settings.output}` holds no answers: nothing can be scored",
            hint="evaluate without --rescore",
        )
    tasks = [*stored.tasks, *(task for suite in stored.suites for task in suite.tasks)]
    checker = find_checker(tasks, report, profile=settings.sandbox)
    check_code = checker.run
    canaries = try_canaries(stored.tasks, check_code, report)
    counted = canaries.counted(stored.tasks)
    items = score_all([one.item for one in stored.items], counted, check_code, report)
    alpha = stored.plan.alpha
    suites = tuple(_again(suite, check_code, report, alpha) for suite in stored.suites)
    place = replace(stored.environment, sandbox=checker.profile, self_test=checker.self_test)
    return concluded(
        replace(
            findings_of(stored),
            environment=place,
            items=tuple(items),
            canaries=canaries.tried,
            suites=suites,
        )
    )


def _again(suite: Suite, check_code: CheckCode | None, report: Reporter, alpha: float) -> Suite:
    """A suite that asked the models, scored again; any other as it is."""
    if not suite.tasks:
        return suite
    arms = [result.arm for result in suite.arms]
    items = [one.item for one in suite.items]
    return asked_result(asked_again(suite), arms, items, check_code, report, alpha=alpha)
