"""Test rows as tasks, and the search for contamination."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from journeyman.errors import UsageError
from journeyman.evaluate.asking.plan import make_plan, tasks_of
from journeyman.evaluate.measuring.baseline import read_baseline
from journeyman.files import write_json
from journeyman.records import Message, Tool, ToolCall
from journeyman.settings import EvaluateSettings
from tests.scripted_engine import row, write_dataset


def test_rows_with_equal_messages_are_one_task() -> None:
    tasks = tasks_of([row("Add.", "one"), row("Add.", "two"), row("Sub.", "three")])
    assert [task.prompt for task in tasks] == ["Add.", "Sub."]


def test_rows_that_differ_in_a_tools_arguments_are_two_tasks() -> None:
    one = row("Add.", "one")
    rows = [
        replace(
            one, messages=(*one.messages[:-1], Message("assistant", "", (call,)), one.messages[-1])
        )
        for call in (ToolCall("", "read", '{"path": "a"}'), ToolCall("", "read", '{"path": "b"}'))
    ]
    assert len({task.id for task in tasks_of(rows)}) == 2


def test_rows_with_other_tools_on_offer_are_two_tasks_that_name_them() -> None:
    tool = Tool("read", "Gives a file.", '{"type":"object"}')
    tasks = tasks_of([row("Add.", "one"), replace(row("Add.", "two"), offered=(tool,))])
    assert [task.tools for task in tasks] == [(), (tool,)]
    assert tasks[0].id != tasks[1].id
    assert tasks[0].cluster == tasks[1].cluster


def test_the_same_prompt_for_another_agent_is_another_task_of_the_same_cluster() -> None:
    tasks = tasks_of([row("Add."), row("add", agent="tester")])
    assert len(tasks) == 2
    assert tasks[0].cluster == tasks[1].cluster


def test_a_task_has_the_checks_of_all_its_rows_once() -> None:
    tasks = tasks_of([row("Double.", "one", checks=1), row("Double.", "two", checks=2)])
    assert len(tasks[0].checks) == 1


def test_the_answer_to_learn_is_not_shown_to_the_model() -> None:
    task = tasks_of([row("Add.", "secret")])[0]
    assert "secret" not in str(task.messages)
    assert task.reference == "secret"


def test_limit_takes_the_first_rows_and_the_seed_orders_them(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, [row(f"Task {n}.") for n in range(20)])
    settings = EvaluateSettings(test_data=path, limit=10)
    first = [task.prompt for task in make_plan(settings).tasks]
    assert sorted(first) == sorted(f"Task {n}." for n in range(10))
    assert first == [task.prompt for task in make_plan(settings).tasks]


@pytest.mark.parametrize("values", [{"limit": 0}, {"max_tokens": 0}])
def test_settings_that_leave_nothing_are_refused(tmp_path: Path, values: dict[str, int]) -> None:
    path = write_dataset(tmp_path, [row("Add.")])
    with pytest.raises(UsageError):
        make_plan(EvaluateSettings(test_data=path, **values))  # type: ignore[arg-type]


def test_contamination_is_found_in_any_spelling_of_the_prompt(tmp_path: Path) -> None:
    path = write_dataset(
        tmp_path, [row("Add!"), row("Sub.")], train=[row("  add ", agent="tester")]
    )
    found = make_plan(EvaluateSettings(test_data=path))
    assert len(found.leak.tasks) == 1
    assert found.leak.of == 2
    assert len(found.leak.files) == 2


def test_an_empty_validation_split_contaminates_nothing(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, [row("Add.")])
    (tmp_path / "val.jsonl").write_text("")
    assert make_plan(EvaluateSettings(test_data=path)).leak.tasks == ()


def test_the_baseline_comes_from_the_metadata(tmp_path: Path) -> None:
    facts = {"k": 298, "n": 302, "mean_latency_s": 20.1, "median_latency_s": 10.9}
    write_json(tmp_path / "metadata.json", {"baseline": facts | {"latency_n": 297}, "other": 1})
    found = read_baseline(tmp_path)
    assert found is not None
    assert found.success is not None
    assert (found.success.k, found.success.n) == (298, 302)
    assert "transport rate" in found.text
    # The lower bound of 298/302 is 97.0 %: the baseline does not establish 98 % itself.
    assert "does not prove 98 %" in found.text
    assert "mixture" in found.text


def test_without_metadata_rows_give_a_latency_and_no_rate(tmp_path: Path) -> None:
    write_dataset(tmp_path, [row("Add."), replace(row("Sub."), duration_s=0.0)])
    found = read_baseline(tmp_path)
    assert found is not None
    assert found.success is None
    assert (found.mean_latency_s, found.n_latency) == (20.0, 3)
    assert "mixture" not in found.text


def test_no_dataset_has_no_baseline(tmp_path: Path) -> None:
    assert read_baseline(tmp_path) is None
