"""`journeyman evaluate --rescore`: score the answers of a result again, without asking a model.

For a changed rubric, a sandbox that was missing, or checks with other limits. Tasks, answers and
latencies are the stored ones; likelihood and divergence follow from their stored rows and lines.
"""

from msgspec.structs import replace

from journeyman.errors import UsageError
from journeyman.evaluate.measuring.baseline import baseline_text
from journeyman.evaluate.measuring.check_trust import counted_tasks, try_checks
from journeyman.evaluate.records.evaluation import Baseline, Evaluation
from journeyman.evaluate.records.suites import Suite
from journeyman.evaluate.scoring.ladder import find_checker, score_all
from journeyman.evaluate.suites.suite_tasks import SuiteTasks, score_suite
from journeyman.evaluate.verdict.conclude import conclude
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import findings_of, recompute_suites
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

    def score_again(suite: Suite, suite_tasks: SuiteTasks) -> Suite:
        """The stored tasks, under this version's title and note."""
        asked = replace(suite_tasks, tasks=suite.tasks)
        arms = [result.arm for result in suite.arms]
        answers = [one.item for one in suite.items]
        return score_suite(asked, arms, answers, checker.run, report, alpha=stored.plan.alpha)

    environment = replace(stored.environment, sandbox=checker.profile, self_test=checker.self_test)
    return conclude(
        replace(
            findings_of(stored),
            environment=environment,
            items=tuple(scored),
            canaries=tried,
            suites=recompute_suites(stored, score_again),
            baseline=_reworded(stored.baseline),
        )
    )


def _reworded(baseline: Baseline | None) -> Baseline | None:
    """The same figures in this version's words, so that the result can be verified."""
    return None if baseline is None else replace(baseline, text=baseline_text(baseline))
