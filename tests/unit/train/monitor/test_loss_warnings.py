"""What a run's losses say: named where they go wrong, nothing where they go well."""

from journeyman.events import Caution, Event
from journeyman.train.identity import Identity
from journeyman.train.monitor.loss_warnings import LossWarnings, advice_on, best_validation
from journeyman.train.state import FinishedStep, State, Validation

IDENTITY = Identity("base", "a", "b", "e", "c", "d", "hf", {"lr": 2e-4, "epochs": 3.0})


def state_of(losses: list[float], validations: dict[int, float], *, epoch_steps: int) -> State:
    taken = tuple(
        FinishedStep(number + 1, number // epoch_steps, loss, 1e-4, 1.0, 100, 120, 1.0)
        for number, loss in enumerate(losses)
    )
    return State(IDENTITY, "one thread", taken, tuple(Validation(*x) for x in validations.items()))


def test_losses_that_fall_need_no_advice() -> None:
    state = state_of([1.5, 1.4, 1.3, 1.2], {0: 1.6, 2: 1.4, 4: 1.3}, epoch_steps=2)
    assert advice_on(state) == ()


def test_a_rising_validation_loss_is_named_with_the_users_remedies() -> None:
    state = state_of([1.5, 1.4, 1.2, 1.1, 0.9, 0.7], {0: 1.6, 2: 1.4, 4: 1.42}, epoch_steps=2)
    (found,) = advice_on(state)
    assert found.text == (
        "the validation loss rises: 1.4200 after step 4, it was lowest (1.4000) at 2"
    )
    # Half of 2e-4; the lowest was after the first of three epochs.
    assert found.hint == (
        "try a lower rate (`--lr 1e-4`), fewer epochs (`--epochs 1`), or more data"
    )


def test_a_change_of_less_than_a_hundredth_is_no_rise() -> None:
    state = state_of([1.5, 1.4, 1.2, 1.1], {0: 1.6, 2: 1.4, 4: 1.413}, epoch_steps=2)
    assert advice_on(state) == ()


def test_a_validation_loss_above_the_bases_is_named_as_that() -> None:
    (found,) = advice_on(state_of([1.5, 1.4], {0: 1.2, 2: 1.4}, epoch_steps=2))
    assert "worse than the base's" in found.text


def test_a_training_loss_that_stays_is_named_over_whole_epochs() -> None:
    (found,) = advice_on(state_of([1.0, 2.0, 2.0, 0.995], {}, epoch_steps=2))
    assert found.rule == "training-does-not-fall"
    assert "1.5000 in the first epoch, 1.4975 now" in found.text
    assert "`--lr 4e-4`" in found.hint


def test_a_training_loss_that_rises_within_one_epoch_asks_for_a_lower_rate() -> None:
    (found,) = advice_on(state_of([1 + n / 20 for n in range(21)], {}, epoch_steps=50))
    assert "first 7 steps" in found.text
    assert "`--lr 1e-4`" in found.hint


def test_few_steps_of_one_epoch_say_nothing() -> None:
    assert advice_on(state_of([1 + n / 20 for n in range(19)], {}, epoch_steps=50)) == ()
    assert advice_on(state_of([], {0: 1.5}, epoch_steps=1)) == ()


def test_the_best_validation_is_the_earliest_of_the_lowest() -> None:
    state = state_of([1.0] * 4, {0: 1.6, 2: 1.4, 4: 1.4}, epoch_steps=4)
    assert best_validation(state.validations) == Validation(2, 1.4)
    assert best_validation(()) is None


def test_a_finding_is_said_once_while_it_lasts() -> None:
    events: list[Event] = []
    adviser = LossWarnings(events.append)
    validations = {0: 1.6, 2: 1.4, 4: 1.5, 6: 1.6, 8: 1.3, 10: 1.5}
    for count in range(1, len(validations) + 1):
        part = dict(list(validations.items())[:count])
        adviser.check(state_of([1.0, 0.9, 0.8, 0.7] * 3, part, epoch_steps=20))
    assert len(events) == 2
    assert all(isinstance(one, Caution) for one in events)
