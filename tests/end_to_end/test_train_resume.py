"""Stopped, killed and damaged runs go on exactly where they were, or report why not."""

import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from journeyman.errors import IntegrityError, Interrupted, MachineError, UsageError
from journeyman.events import Caution, Event, Note, Progress
from journeyman.runs import folder_lock
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.result import TrainingResult
from journeyman.train.stage import train
from journeyman.train.state import State
from tests.small_models import small_model
from tests.training_runs import (
    drawn_steps,
    names,
    paused_after,
    short_run,
    stop_after,
)

STEPS = 12


@pytest.fixture(scope="module")
def whole(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A run that is not interrupted; 10 rows by 4 are 3 steps an epoch."""
    return train(_settings(base, data, tmp_path_factory.mktemp("whole")))


def _settings(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    return short_run(base, data, output_dir, **{"epochs": 4.0} | changes)


def _state(output_dir: Path) -> State:
    path = output_dir / f"checkpoint-{STEPS}" / "state.json"
    return msgspec.json.decode(path.read_bytes(), type=State)


def _assert_equal(one: TrainingResult, other: TrainingResult) -> None:
    """Adapter, moments and every loss, bit for bit."""
    left, right = one.final_model.parent, other.final_model.parent
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        files = [folder / f"checkpoint-{STEPS}" / name for folder in (left, right)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert [x.loss for x in _state(left).taken] == [x.loss for x in _state(right).taken]
    assert _state(left).validations == _state(right).validations
    assert one.final.val_loss_final == other.final.val_loss_final


def _stopped(settings: TrainSettings, step: int) -> Interrupted:
    with pytest.raises(Interrupted) as caught:
        train(settings, stop_after(step))
    return caught.value


def test_sigterm_ends_with_75_and_the_same_command_goes_on(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    settings = _settings(base, data, tmp_path, save_steps=5)
    process = paused_after(5, settings)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate("go on\n")
    assert process.returncode == 75
    # The stop comes inside of step 6; the last checkpoint is of step 5.
    assert "checkpoint-6 is saved" in output
    _assert_equal(whole, train(settings))


@pytest.mark.parametrize("step", [1, 3, 7])
def test_stopped_after_any_step_the_result_is_the_same(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path, step: int
) -> None:
    settings = _settings(base, data, tmp_path)
    error = _stopped(settings, step)
    assert f"checkpoint-{step}-micro-1 is saved" in error.message
    assert error.exit_code == 75
    assert (tmp_path / "losses.png").is_file()
    _assert_equal(whole, train(settings))


def test_signal_handlers_are_restored(base: Path, data: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    _stopped(_settings(base, data, tmp_path), 1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_stopped_before_the_first_step_nothing_is_saved(
    base: Path, data: Path, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.task == "validate":
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="nothing is saved yet"):
        train(_settings(base, data, tmp_path), stop)


def test_curves_of_a_resumed_run_have_no_step_twice(base: Path, data: Path, tmp_path: Path) -> None:
    settings = _settings(base, data, tmp_path)
    _stopped(settings, 4)
    train(settings)
    assert drawn_steps(tmp_path, "train/loss") == list(range(1, STEPS + 1))
    assert drawn_steps(tmp_path, "val/loss") == [0, 3, 6, 9, 12]


def test_a_damaged_newest_checkpoint_is_named_and_the_result_is_the_same(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    settings = _settings(base, data, tmp_path)
    _stopped(settings, 4)
    path = tmp_path / "checkpoint-4-micro-1" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    events: list[Event] = []
    result = train(settings, events.append)
    cautions = [event.text for event in events if isinstance(event, Caution)]
    assert any(path.parent.name in text and path.name in text for text in cautions)
    assert any(isinstance(x, Note) and "checkpoint-4`, step 4 of 12" in x.text for x in events)
    assert names(tmp_path / "quarantine") == {path.parent.name}
    _assert_equal(whole, result)


def test_another_setting_is_refused_by_name(base: Path, data: Path, tmp_path: Path) -> None:
    _stopped(_settings(base, data, tmp_path), 1)
    with pytest.raises(UsageError) as caught:
        train(_settings(base, data, tmp_path, lr=1e-3, seed=1))
    assert "`lr`" in caught.value.message
    assert "`seed`" in caught.value.message


def test_changed_weights_of_the_base_are_refused(base: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "base"))
    settings = _settings(copy, data, tmp_path / "out")
    _stopped(settings, 1)
    shutil.rmtree(copy)
    small_model(copy, "llama", seed=5)
    with pytest.raises(IntegrityError, match="base_sha256"):
        train(settings)


def test_another_thread_count_is_allowed_and_reported(
    base: Path, data: Path, tmp_path: Path
) -> None:
    _stopped(_settings(base, data, tmp_path, max_steps=2), 1)
    events: list[Event] = []
    train(_settings(base, data, tmp_path, max_steps=2, threads=2), events.append)
    cautions = [event.text for event in events if isinstance(event, Caution)]
    assert any("not be equal bit for bit" in text for text in cautions)


def test_a_run_goes_on_from_a_named_checkpoint_elsewhere(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    _stopped(_settings(base, data, tmp_path / "one"), 4)
    named = tmp_path / "one" / "checkpoint-4"
    _assert_equal(whole, train(_settings(base, data, tmp_path / "two", resume=named)))
    with pytest.raises(UsageError, match="another run"):
        train(_settings(base, data, tmp_path / "three", resume=named, lr=1e-3))


def test_a_named_checkpoint_that_is_damaged_is_refused(
    base: Path, data: Path, tmp_path: Path
) -> None:
    _stopped(_settings(base, data, tmp_path / "one"), 2)
    named = tmp_path / "one" / "checkpoint-2"
    (named / "state.json").unlink()
    with pytest.raises(IntegrityError, match=r"state\.json"):
        train(_settings(base, data, tmp_path / "two", resume=named))


def test_a_damaged_final_model_is_made_again_from_the_last_checkpoint(
    base: Path, data: Path, tmp_path: Path
) -> None:
    settings = _settings(base, data, tmp_path, max_steps=2)
    first = train(settings)
    weights = first.final_model / "adapter_model.safetensors"
    expected = weights.read_bytes()
    weights.write_bytes(expected[:-1])
    train(settings)
    assert weights.read_bytes() == expected


def test_a_second_run_in_the_folder_is_refused_at_once(
    base: Path, data: Path, tmp_path: Path
) -> None:
    with folder_lock(tmp_path), pytest.raises(MachineError, match="in use by process"):
        train(_settings(base, data, tmp_path))
