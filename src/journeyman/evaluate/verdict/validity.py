"""Gates that must hold before any number may be used: one for each known way to fool oneself.

The forerunner of this project got each of them wrong without noticing. A gate that fails makes the
verdict INVALID; one that cannot be known (`ok` None) is shown as such.
"""

from collections import Counter
from collections.abc import Sequence

from journeyman.evaluate.records.evaluation import Arm, ArmResult, Contamination, EvaluationPlan
from journeyman.evaluate.records.measurements import Validity
from journeyman.evaluate.records.scores import EvaluationTask, ScoredItem
from journeyman.evaluate.records.suites import CheckTrust, Suite

_AGAIN = "run the same command again: it continues where it stopped"


def gates(
    plan: EvaluationPlan,
    leak: Contamination,
    arms: Sequence[ArmResult],
    tasks: Sequence[EvaluationTask],
    items: Sequence[ScoredItem],
    *,
    suites: Sequence[Suite] = (),
    canaries: Sequence[CheckTrust] = (),
) -> tuple[Validity, ...]:
    """Every gate; if one of those before the first answer fails, only those."""
    measured = [result.arm for result in arms]
    before = gates_before_answers(leak, measured, tasks)
    if any(gate.ok is False for gate in before):
        return before
    after = (complete(plan, arms, suites), errors_untimed(items), *checks_trusted(canaries))
    return (*before, *after)


def gates_before_answers(
    leak: Contamination, arms: Sequence[Arm], tasks: Sequence[EvaluationTask]
) -> tuple[Validity, ...]:
    """The gates that need no answer: if one of them fails, no model is asked."""
    return (not_contaminated(leak), shipped(arms), same_template(arms), tests_run(tasks))


def not_contaminated(leak: Contamination) -> Validity:
    """No test prompt is in the training set."""
    if not leak.files and not leak.tasks:
        return Validity(
            "leak",
            ok=None,
            text="contamination could not be checked: no train.jsonl or val.jsonl beside the test "
            "rows",
            action="keep test.jsonl in the folder that `journeyman prepare` wrote",
        )
    if not leak.tasks:
        text = f"none of the {leak.of} test prompts is in the training set"
        return Validity("leak", ok=True, text=text)
    return Validity(
        "leak",
        ok=False,
        text=f"contamination: {len(leak.tasks)} of {leak.of} test prompts are also in train.jsonl "
        "or val.jsonl",
        action="run `journeyman prepare` again (it keeps equal prompts together) and train again",
    )


def complete(
    plan: EvaluationPlan, arms: Sequence[ArmResult], suites: Sequence[Suite] = ()
) -> Validity:
    """Every planned answer of every suite is there, errors included."""
    missing = [
        f"{result.recorded} of {plan.tasks} answers of {result.arm.id} are there"
        for result in arms
        if result.recorded < plan.tasks
    ]
    missing += [
        f"{asked.recorded} of {suite.n} answers of {asked.arm} to {suite.title} are there"
        for suite in suites
        for asked in suite.arms
        if asked.recorded < suite.n
    ]
    if not any(result.arm.id == "tuned" for result in arms):
        missing.append("the tuned model was not evaluated")
    if missing:
        return Validity("complete", False, f"incomplete: {'; '.join(missing)}", _AGAIN)
    answers = plan.tasks + sum(suite.n for suite in suites if suite.arms)
    return Validity(
        "complete", ok=True, text=f"all {answers} planned answers of each model are there"
    )


def shipped(arms: Sequence[Arm]) -> Validity:
    """The measured file is the one that will ship."""
    tuned = next((arm for arm in arms if arm.id == "tuned"), None)
    if tuned is None or not tuned.promised_sha256:
        return Validity("shipped", None, "no manifest says which file will ship")
    if tuned.sha256 == tuned.promised_sha256:
        text = f"the measured file will ship: `{tuned.sha256[:12]}`"
        return Validity("shipped", ok=True, text=text)
    return Validity(
        "shipped",
        ok=False,
        text=f"the measured file is not the one that will ship: `{tuned.name}` is "
        f"`{tuned.sha256[:12]}`, its manifest promises `{tuned.promised_sha256[:12]}` (sha256)",
        action="run `journeyman convert` again, then evaluate the file that it wrote",
    )


def same_template(arms: Sequence[Arm]) -> Validity:
    """Both models got the same prompts: their files hold the same chat template."""
    templates = [arm.template_sha256 for arm in arms]
    if len(templates) < 2 or not all(templates):
        return Validity("template", None, "the chat templates of the two files were not compared")
    if len(set(templates)) == 1:
        return Validity("template", ok=True, text="both models have the same chat template")
    return Validity(
        "template",
        ok=False,
        text="base and tuned model have different chat templates, so they got different prompts",
        action="compare with the base model that it was made from: leave out `--base`",
    )


def errors_untimed(scored: Sequence[ScoredItem]) -> Validity:
    """No failed answer has a latency: an error that counts as 0 s lowers the mean."""
    items = [one.item for one in scored]
    timed = [i for i in items if i.answer.finish == "error" and i.answer.latency_s is not None]
    instant = [i for i in items if i.answer.latency_s is not None and i.answer.latency_s <= 0]
    count = len({(item.arm, item.task) for item in (*timed, *instant)})
    if not count:
        return Validity("errors", ok=True, text="no failed answer has a latency")
    return Validity(
        "errors",
        ok=False,
        text=f"{count} answers that failed or took 0 s count as latencies",
        action="evaluate again with this version, which gives an error no latency",
    )


def tests_run(tasks: Sequence[EvaluationTask]) -> Validity:
    """Every check has steps that must run: a check without steps passes and proves nothing."""
    empty = [task.id for task in tasks if any(check.n < 1 for check in task.checks)]
    if empty:
        return Validity(
            "tests",
            ok=False,
            text=f"{len(empty)} of {len(tasks)} tasks have checks that run no test: passing them "
            "proves nothing",
            action="give each check at least one example or assertion, then prepare again",
        )
    with_checks = sum(bool(task.checks) for task in tasks)
    if not with_checks:
        return Validity("tests", None, "no task has a check")
    return Validity("tests", ok=True, text=f"the checks of {with_checks} tasks have check steps")


def checks_trusted(canaries: Sequence[CheckTrust]) -> tuple[Validity, ...]:
    """Some check tells right from wrong code; no gate if no check was tried."""
    if not canaries:
        return ()
    failed = [one for one in canaries if one.failed]
    if len(failed) < len(canaries):
        count = len(canaries) - len(failed)
        text = f"the checks of {count} of {len(canaries)} tasks tell right from wrong code"
        return (Validity("canaries", ok=True, text=text),)
    failure, times = Counter(one.failed for one in failed).most_common(1)[0]
    detail = next((one.detail for one in failed if one.failed == failure and one.detail), "")
    reason = f"{failure}: {times}" + (f", for example: {detail}" if detail else "")
    return (
        Validity(
            "canaries",
            ok=False,
            text=f"the checks of all {len(canaries)} tasks fail to tell right from wrong code "
            f"({reason})",
            action="repair the checks: each must pass the reference answer and fail wrong code",
        ),
    )
