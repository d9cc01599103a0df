"""Warnings about the losses of a run: overfitting, and a training loss that does not fall."""

from journeyman.events import Caution, Event
from journeyman.train.identity import Identity
from journeyman.train.monitor.loss_warnings import LossWarnings, best_validation, loss_warnings_of
from journeyman.train.state import FinishedStep, State, Validation

IDENTITY = Identity("base", "a", "b", "e", "c", "d", "hf", {"lr": 2e-4, "epochs": 3.0})


def state_of(losses: list[float], validations: dict[int, float], *, epoch_steps: int) -> State:
    taken = tuple(
        FinishedStep(number + 1, number // epoch_steps, loss, 1e-4, 1.0, 100, 120, 1.0)
        for number, loss in enumerate(losses)
    )
    return State(IDENTITY, "one thread", taken, tuple(Validation(*x) for x in validations.items()))


def test_losses_that_fall_give_no_warning() -> None:
    state = state_of([1.5, 1.4, 1.3, 1.2], {0: 1.6, 2: 1.4, 4: 1.3}, epoch_steps=2)
    assert loss_warnings_of(state) == ()


def test_overfitting_is_named_with_the_settings_that_help() -> None:
    state = state_of([1.5, 1.4, 1.2, 1.1, 0.9, 0.7], {0: 1.6, 2: 1.4, 4: 1.42}, epoch_steps=2)
    (found,) = loss_warnings_of(state)
    assert found.rule == "validation-rises"
    assert found.text.startswith("overfitting: ")
    assert "from 1.4000 after step 2 to 1.4200 after step 4" in found.text
    # Half of 2e-4; the lowest was after the first of three epochs.
    assert "`--lr 1e-4`" in found.hint
    assert "`--epochs 1`" in found.hint


def test_a_rising_validation_loss_without_a_falling_training_loss_is_not_overfitting() -> None:
    state = state_of([1.5, 1.5, 1.5, 1.5], {0: 1.6, 2: 1.4, 4: 1.42}, epoch_steps=2)
    rising = next(one for one in loss_warnings_of(state) if one.rule == "validation-rises")
    assert "overfitting" not in rising.text


def test_a_change_of_less_than_a_hundredth_does_not_count() -> None:
    state = state_of([1.5, 1.4, 1.2, 1.1], {0: 1.6, 2: 1.4, 4: 1.413}, epoch_steps=2)
    assert loss_warnings_of(state) == ()


def test_a_validation_loss_above_the_bases_names_the_base() -> None:
    (found,) = loss_warnings_of(state_of([1.5, 1.4], {0: 1.2, 2: 1.4}, epoch_steps=2))
    assert "from the base's 1.2000 to 1.4000" in found.text


def test_a_training_loss_that_stays_is_named_over_whole_epochs() -> None:
    (found,) = loss_warnings_of(state_of([1.0, 2.0, 2.0, 0.995], {}, epoch_steps=2))
    assert found.rule == "training-does-not-fall"
    assert "1.5000 in the first epoch, 1.4975 in the last" in found.text
    assert "`--lr 4e-4`" in found.hint


def test_a_training_loss_that_rises_within_one_epoch_asks_for_a_lower_rate() -> None:
    (found,) = loss_warnings_of(state_of([1 + n / 20 for n in range(21)], {}, epoch_steps=50))
    assert "first 7 steps" in found.text
    assert "`--lr 1e-4`" in found.hint


def test_a_few_steps_of_one_epoch_give_no_warning() -> None:
    assert loss_warnings_of(state_of([1 + n / 20 for n in range(19)], {}, epoch_steps=50)) == ()
    assert loss_warnings_of(state_of([], {0: 1.5}, epoch_steps=1)) == ()


def test_the_best_validation_is_the_earliest_of_the_lowest() -> None:
    state = state_of([1.0] * 4, {0: 1.6, 2: 1.4, 4: 1.4}, epoch_steps=4)
    assert best_validation(state.validations) == Validation(2, 1.4)
    assert best_validation(()) is None


def test_a_warning_is_reported_once_while_it_lasts() -> None:
    events: list[Event] = []
    warnings = LossWarnings(events.append)
    validations = {0: 1.6, 2: 1.4, 4: 1.5, 6: 1.6, 8: 1.3, 10: 1.5}
    for count in range(1, len(validations) + 1):
        part = dict(list(validations.items())[:count])
        warnings.check(state_of([1.0, 0.9, 0.8, 0.7] * 3, part, epoch_steps=20))
    assert len(events) == 2
    assert all(isinstance(one, Caution) for one in events)
