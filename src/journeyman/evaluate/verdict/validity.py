"""What must hold before a number may be used at all: one gate a way to fool oneself.

Each of them is something that the forerunner of this project got wrong without noticing. A gate
that is not ok makes the verdict INVALID; one that cannot be known (`ok` None) is shown as such.
"""

from collections import Counter
from collections.abc import Sequence

from journeyman.evaluate.records.evaluation import Arm, ArmResult, EvaluationPlan, Leak
from journeyman.evaluate.records.measurements import Validity
from journeyman.evaluate.records.scores import EvaluationTask, ScoredItem
from journeyman.evaluate.records.suites import CheckTrust, Suite

_AGAIN = "run the same command again: it goes on from where it stopped"


def gates(
    plan: EvaluationPlan,
    leak: Leak,
    arms: Sequence[ArmResult],
    tasks: Sequence[EvaluationTask],
    items: Sequence[ScoredItem],
    *,
    suites: Sequence[Suite] = (),
    canaries: Sequence[CheckTrust] = (),
) -> tuple[Validity, ...]:
    """Every gate; where one fails that is known before the first answer, those alone."""
    measured = [result.arm for result in arms]
    before = gates_before(leak, measured, tasks)
    if any(gate.ok is False for gate in before):
        return before
    known = (complete(plan, arms, suites), errors_untimed(items), *checks_proved(canaries))
    return (*before, *known)


def gates_before(
    leak: Leak, arms: Sequence[Arm], tasks: Sequence[EvaluationTask]
) -> tuple[Validity, ...]:
    """The gates that need no answer: nothing is asked where one of them fails."""
    return (not_leaked(leak), shipped(arms), same_template(arms), tests_run(tasks))


def not_leaked(leak: Leak) -> Validity:
    """No test prompt was trained on."""
    if not leak.files and not leak.tasks:
        text = "a leak could not be looked for: no train.jsonl or val.jsonl beside the test rows"
        return Validity(
            "leak", None, text, "keep test.jsonl in the folder that `journeyman prepare` wrote"
        )
    if not leak.tasks:
        return Validity("leak", ok=True, text=f"none of {leak.of} test prompts was trained on")
    return Validity(
        "leak",
        ok=False,
        text=f"leak: {len(leak.tasks)} of {leak.of} test prompts are also in train.jsonl or "
        "val.jsonl",
        action="run `journeyman prepare` again (it keeps equal prompts together) and train again",
    )


def complete(
    plan: EvaluationPlan, arms: Sequence[ArmResult], suites: Sequence[Suite] = ()
) -> Validity:
    """Every planned answer of every suite is on record, errors among them."""
    missing = [
        f"{result.recorded} of {plan.tasks} answers of {result.arm.id} are recorded"
        for result in arms
        if result.recorded < plan.tasks
    ]
    missing += [
        f"{asked.recorded} of {suite.n} answers of {asked.arm} to {suite.title} are recorded"
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
        "complete", ok=True, text=f"all {answers} planned answers of each model are recorded"
    )


def shipped(arms: Sequence[Arm]) -> Validity:
    """The file that was measured is the one that was made to be shipped."""
    tuned = next((arm for arm in arms if arm.id == "tuned"), None)
    if tuned is None or not tuned.promised_sha256:
        return Validity("shipped", None, "nothing says which file is to be shipped")
    if tuned.sha256 == tuned.promised_sha256:
        return Validity("shipped", ok=True, text=f"measured what ships: `{tuned.sha256[:12]}`")
    return Validity(
        "shipped",
        ok=False,
        text=f"another model was measured than ships: `{tuned.name}` is `{tuned.sha256[:12]}`, its "
        f"manifest promises `{tuned.promised_sha256[:12]}` (sha256)",
        action="run `journeyman convert` again, then evaluate the file that it wrote",
    )


def same_template(arms: Sequence[Arm]) -> Validity:
    """Both models read the same prompts: their files hold the same chat template."""
    found = [arm.template_sha256 for arm in arms]
    if len(found) < 2 or not all(found):
        return Validity("template", None, "the chat templates of the two files were not compared")
    if len(set(found)) == 1:
        return Validity("template", ok=True, text="both models have the same chat template")
    return Validity(
        "template",
        ok=False,
        text="base and tuned have different chat templates: they were not asked the same",
        action="compare with the base that the model was made from: leave out --base",
    )


def errors_untimed(scored: Sequence[ScoredItem]) -> Validity:
    """No failed answer has a time: an error that counts as 0 s makes a mean faster."""
    items = [one.item for one in scored]
    timed = [i for i in items if i.answer.finish == "error" and i.answer.latency_s is not None]
    instant = [i for i in items if i.answer.latency_s is not None and i.answer.latency_s <= 0]
    count = len({(item.arm, item.task) for item in (*timed, *instant)})
    if not count:
        return Validity("errors", ok=True, text="no failed answer counts as a quick one")
    return Validity(
        "errors",
        ok=False,
        text=f"{count} answers that failed or took no time are counted as latencies",
        action="evaluate again with this version: an error has no latency here",
    )


def tests_run(tasks: Sequence[EvaluationTask]) -> Validity:
    """Every check has steps that must be seen to run: passing none of them proves nothing."""
    empty = [task.id for task in tasks if any(check.n < 1 for check in task.checks)]
    if empty:
        return Validity(
            "tests",
            ok=False,
            text=f"{len(empty)} of {len(tasks)} tasks have checks that run no test: passing them "
            "says nothing",
            action="give each check at least one example or assertion, then prepare again",
        )
    with_checks = sum(bool(task.checks) for task in tasks)
    if not with_checks:
        return Validity("tests", None, "no task has a check")
    return Validity("tests", ok=True, text=f"the checks of {with_checks} tasks have steps to run")


def checks_proved(canaries: Sequence[CheckTrust]) -> tuple[Validity, ...]:
    """Some check tells right from wrong; nothing is said where no check was tried."""
    if not canaries:
        return ()
    failed = [one for one in canaries if one.failed]
    if len(failed) < len(canaries):
        count = len(canaries) - len(failed)
        text = f"the checks of {count} of {len(canaries)} tasks proved themselves"
        return (Validity("canaries", ok=True, text=text),)
    canary, times = Counter(one.failed for one in failed).most_common(1)[0]
    detail = next((one.detail for one in failed if one.failed == canary and one.detail), "")
    reason = f"{canary}: {times}" + (f", such as: {detail}" if detail else "")
    return (
        Validity(
            "canaries",
            ok=False,
            text=f"not one of {len(canaries)} checks tells right from wrong ({reason})",
            action="mend the checks: each must pass its row's own answer and fail wrong ones",
        ),
    )
