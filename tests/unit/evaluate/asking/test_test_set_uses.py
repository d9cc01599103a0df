"""Uses of one test set: each counted once by any process, and never forgotten."""

import threading
from pathlib import Path

from journeyman.evaluate.asking.plan import complete_plan, plan_sha256, prompts_sha256, write_plan
from journeyman.evaluate.asking.test_set_uses import (
    record_use,
    use_key,
    use_number,
    uses_folder,
)
from journeyman.evaluate.records.evaluation import Arm, EvaluationPlan
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.records import Message

SHA = "ab" * 32
PLAN = EvaluationPlan("test.jsonl", SHA, 4, 4, 4, 0, 512, None, 42, None)


def arm(sha256: str) -> Arm:
    return Arm("tuned", "t.gguf", "llama.cpp", sha256)


def tasks(count: int) -> list[EvaluationTask]:
    return [
        EvaluationTask(str(n), str(n), "coder", None, (Message("user", str(n)),))
        for n in range(count)
    ]


def use(sha256: str) -> int:
    """Judge a model by the rows of PLAN; gives the number of the use."""
    key = use_key(PLAN, [arm(sha256)])
    number = use_number(SHA, key)
    record_use(SHA, key, model_sha256=sha256, label="ITERATE")
    return number


def test_each_further_model_is_a_further_use() -> None:
    assert [use("1"), use("2"), use("3")] == [1, 2, 3]


def test_the_same_measurement_again_is_the_same_use() -> None:
    assert [use("1"), use("2"), use("1"), use("2")] == [1, 2, 1, 2]
    assert len((uses_folder() / f"{SHA}.jsonl").read_text().splitlines()) == 2


def test_another_longest_answer_is_another_use() -> None:
    use("1")
    longer = EvaluationPlan("test.jsonl", SHA, 4, 4, 4, 0, 1024, None, 42, None)
    assert use_number(SHA, use_key(longer, [arm("1")])) == 2


def test_other_test_rows_start_over() -> None:
    use("1")
    assert use_number("cd" * 32, use_key(PLAN, [arm("2")])) == 1


def test_uses_from_many_threads_are_all_counted() -> None:
    threads = [threading.Thread(target=use, args=(str(n),)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert use_number(SHA, "another") == 13


def test_a_torn_line_loses_no_other_use() -> None:
    use("1")
    path = uses_folder() / f"{SHA}.jsonl"
    path.write_text('{"key": "torn\n' + path.read_text())
    assert use_number(SHA, use_key(PLAN, [arm("2")])) == 2


def test_the_second_use_halves_the_error() -> None:
    use("1")
    plan = complete_plan(
        PLAN, [arm("2")], tasks(4), warm_tasks=3, commands={"tuned": ("llama-server",)}
    )
    assert (plan.look, plan.alpha) == (2, 0.025)
    assert plan.warm_tasks == ("0", "1", "2")
    assert plan.arms[0].command == ("llama-server",)


def test_one_prompt_alone_is_never_warm() -> None:
    assert complete_plan(PLAN, [arm("1")], tasks(1), warm_tasks=9, commands={}).warm_tasks == ()
    torch = [Arm("tuned", "a", "torch", "1")]
    assert complete_plan(PLAN, torch, tasks(4), warm_tasks=9, commands={}).warm_tasks == ()


def test_a_plan_has_a_hash_that_any_change_changes(tmp_path: Path) -> None:
    sha256 = write_plan(tmp_path / "r.json", PLAN)
    assert (tmp_path / "r.plan.json").is_file()
    assert sha256 == plan_sha256(PLAN)
    other = EvaluationPlan("test.jsonl", SHA, 4, 4, 4, 0, 513, None, 42, None)
    assert plan_sha256(other) != sha256


def test_the_hash_of_the_prompts_knows_no_order() -> None:
    found = tasks(3)
    assert prompts_sha256(found) == prompts_sha256(found[::-1])
    assert prompts_sha256(found) != prompts_sha256(found[:2])
