"""The order in which two models are asked: neither has the better half of the hour."""

from statistics import fmean

from journeyman.evaluate.asking.answers import blocks, warm_blocks
from journeyman.evaluate.records.evaluation import Arm
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.records import Message

BASE, TUNED = Arm("base", "b", "llama.cpp", "1"), Arm("tuned", "t", "llama.cpp", "2")


def tasks(count: int) -> list[EvaluationTask]:
    return [
        EvaluationTask(str(n), str(n), "coder", None, (Message("user", str(n)),))
        for n in range(count)
    ]


def places(arm: Arm) -> list[int]:
    order = [b.arm for b in blocks([BASE, TUNED], tasks(8)) for _ in b.tasks]
    return [place for place, asked in enumerate(order) if asked == arm]


def test_each_arm_is_asked_each_task_once() -> None:
    for arm in (BASE, TUNED):
        asked = [t for b in blocks([BASE, TUNED], tasks(7)) if b.arm == arm for t in b.tasks]
        assert asked == tasks(7)


def test_both_arms_have_the_same_mean_place_in_time() -> None:
    assert fmean(places(BASE)) == fmean(places(TUNED))


def test_one_arm_is_asked_in_one_block() -> None:
    assert [len(block.tasks) for block in blocks([TUNED], tasks(5))] == [5]
    assert [block.arm.id for block in blocks([BASE, TUNED], tasks(1))] == ["base", "tuned"]


def test_the_warm_workload_is_asked_twice_as_a_b_b_a() -> None:
    order = warm_blocks([BASE, TUNED], tasks(3))
    assert [block.arm.id for block in order] == ["base", "tuned", "tuned", "base"]
    assert [block.number for block in order] == [0, 1, 2, 3]
