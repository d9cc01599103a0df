"""Our own instruction probes: short requests whose answers code can score (`probes.json`).

In the manner of IFEval (Zhou et al. 2023, arXiv 2311.07911), with prompts and rules written here.
Each probe holds an answer that its rules must accept and one that they must refuse: check trust.
"""

import functools
from importlib import resources

import msgspec
from msgspec import Struct

from journeyman.evaluate.records.scores import (
    EvaluationTask,
    Item,
    RungId,
    Score,
    ScoredItem,
    decode_rate,
)
from journeyman.evaluate.records.suites import ExcludedTask
from journeyman.evaluate.scoring.extract_code import after_thinking
from journeyman.evaluate.scoring.ladder import score_served
from journeyman.evaluate.suites.probe_rules import ProbeRule, broken_rule
from journeyman.files import content_id
from journeyman.records import Message

SYSTEM = "You are a helpful programming assistant."
PROBE_RUNGS: tuple[RungId, ...] = ("S0", "S4")
NOTE = "S4: the answer is finished and meets every rule of its probe; nothing is executed"
_FILE = "probes.json"


class Probe(Struct, frozen=True, forbid_unknown_fields=True):
    """A request, the rules for its answer, and an answer that keeps and one that breaks them."""

    id: str
    category: str
    prompt: str
    rules: tuple[ProbeRule, ...]
    good: str
    bad: str
    max_tokens: int


@functools.cache
def probes() -> tuple[Probe, ...]:
    """All probes, in the order of the file."""
    data = resources.files(__package__).joinpath(_FILE).read_bytes()
    return msgspec.json.decode(data, type=tuple[Probe, ...])


def probe_tasks() -> tuple[tuple[EvaluationTask, ...], tuple[ExcludedTask, ...]]:
    """The probes as tasks, and those that are not asked because their rules cannot be trusted."""
    excluded = tuple(failure for probe in probes() if (failure := _failed_trial(probe)))
    out = {one.task for one in excluded}
    return tuple(task for probe in probes() if (task := _task(probe)).id not in out), excluded


def _failed_trial(probe: Probe) -> ExcludedTask | None:
    broken = broken_rule(probe.rules, probe.good)
    if broken is not None:
        return ExcludedTask(_id(probe), "reference fails", broken.kind)
    if broken_rule(probe.rules, probe.bad) is None:
        return ExcludedTask(_id(probe), "wrong answer passes")
    return None


def _id(probe: Probe) -> str:
    return content_id("probes", probe.id, probe.prompt)


def _task(probe: Probe) -> EvaluationTask:
    return EvaluationTask(
        id=_id(probe),
        cluster=_id(probe),
        agent=probe.category,
        task_id=probe.id,
        messages=(Message("system", SYSTEM), Message("user", probe.prompt)),
        reference=probe.good,
        max_tokens=probe.max_tokens,
        rule=probe.id,
    )


def score_probe(item: Item, task: EvaluationTask) -> ScoredItem:
    """S0 and S4 of one answer. An answer that was cut off or is all reasoning fails."""
    rules = next((probe.rules for probe in probes() if probe.id == task.rule), None)
    unknown = Score("S4", passed=None, code="unknown_rule", detail=task.rule)
    kept = unknown if rules is None else _score_rules(item, rules)
    scores = (score_served(item.answer), kept)
    return ScoredItem(item, scores, tokens_per_s=decode_rate(item.answer))


def _score_rules(item: Item, rules: tuple[ProbeRule, ...]) -> Score:
    if not score_served(item.answer).passed:
        return Score("S4", passed=False, code="not_served")
    if item.answer.finish == "length":
        return Score("S4", passed=False, code="limit")
    text = after_thinking(item.answer.text)
    if text is None or not text.strip():
        return Score("S4", passed=False, code="no_answer")
    broken = broken_rule(rules, text)
    if broken is None:
        return Score("S4", passed=True)
    return Score("S4", passed=False, code=broken.kind, detail=_values(broken))


def _values(rule: ProbeRule) -> str:
    values = [rule.text, *rule.texts, f"least {rule.least}" if rule.least else ""]
    values.append(f"most {rule.most}" if rule.most < ProbeRule("").most else "")
    return ", ".join(value for value in values if value)
