"""What the losses of a run say about its settings, with the remedies that a user has.

Covered: a validation loss that rises, a training loss that does not fall. Not covered: whether the
answers got better; `journeyman evaluate` says that.

Losses that stand out: worth a warning and a mark, never a reason to stop.

The rule is OLMo-core's for skipping a step (6 standard deviations over 128 steps; its
`SkipStepOptimizer`), used to warn only: short runs never fill such a window.
"""

from collections.abc import Sequence
from statistics import fmean

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Reporter
from journeyman.train.batching.batches import OptimiserStep
from journeyman.train.state import DEVIATIONS, State, Validation

_LEAST_CHANGE = 0.01
"""Share of a loss (0..1) below which a change is not worth a word."""

_LEAST_STEPS = 20
"""Steps of which the first and the last third can be compared where no two epochs can."""


class LossWarning(Struct, frozen=True):
    """One finding about a run: `rule` names it, `text` says what was seen, `hint` what to do."""

    rule: str
    text: str
    hint: str


def advice_on(state: State) -> tuple[LossWarning, ...]:
    """Every finding that the losses so far give; none where they go as they should."""
    found = (_validation_rises(state), _training_does_not_fall(state))
    return tuple(one for one in found if one is not None)


def best_validation(validations: Sequence[Validation]) -> Validation | None:
    """The earliest with the lowest loss; step 0 is the base. None where nothing was validated."""
    return min(validations, key=lambda one: (one.loss, one.step), default=None)


def _validation_rises(state: State) -> LossWarning | None:
    best = best_validation(state.validations)
    if best is None:
        return None
    last = state.validations[-1]
    if last.loss <= best.loss * (1 + _LEAST_CHANGE):
        return None
    now = f"{last.loss:.4f} after step {last.step}"
    if best.step == 0:
        text = f"the validation loss is worse than the base's: {now}, {best.loss:.4f} before"
    else:
        text = f"the validation loss rises: {now}, it was lowest ({best.loss:.4f}) at {best.step}"
    remedies = [f"a lower rate (`--lr {_lower_rate(state)}`)", _fewer_epochs(state, best)]
    return LossWarning("validation-rises", text, f"try {', '.join(remedies)}, or more data")


def _fewer_epochs(state: State, best: Validation) -> str:
    epochs = state.taken[best.step - 1].epoch + 1 if best.step else 1
    asked = state.identity.settings.get("epochs")
    named = isinstance(asked, int | float) and epochs < asked
    return f"fewer epochs (`--epochs {epochs}`)" if named else "fewer epochs"


def _training_does_not_fall(state: State) -> LossWarning | None:
    compared = _first_and_last(state)
    if compared is None:
        return None
    where, first, last = compared
    if last <= first * (1 - _LEAST_CHANGE):
        return None
    seen = f"{first:.4f} in the first {where}, {last:.4f} now"
    if last > first * (1 + _LEAST_CHANGE):
        return LossWarning(
            "training-does-not-fall",
            f"the training loss rises: {seen}",
            f"try a lower rate (`--lr {_lower_rate(state)}`)",
        )
    return LossWarning(
        "training-does-not-fall",
        f"the training loss hardly changes: {seen}",
        f"try a higher rate (`--lr {_rate(state, 2)}`) or more epochs, "
        "and look at the rows with `journeyman doctor`",
    )


def _first_and_last(state: State) -> tuple[str, float, float] | None:
    """What is compared, and its mean training loss at the start and now. None: too few steps.

    Two epochs hold the same rows, so their means differ by what was learned and not by chance.
    """
    epochs: dict[int, list[float]] = {}
    for one in state.taken:
        epochs.setdefault(one.epoch, []).append(one.loss)
    steps_an_epoch = len(next(iter(epochs.values()), ()))
    whole = [losses for losses in epochs.values() if len(losses) == steps_an_epoch]
    if len(whole) > 1:
        return "epoch", fmean(whole[0]), fmean(whole[-1])
    losses = [one.loss for one in state.taken]
    if len(losses) < _LEAST_STEPS:
        return None
    third = len(losses) // 3
    return f"{third} steps", fmean(losses[:third]), fmean(losses[-third:])


def _lower_rate(state: State) -> str:
    return _rate(state, 0.5)


def _rate(state: State, factor: float) -> str:
    asked = state.identity.settings.get("lr")
    assert isinstance(asked, float)  # an identity holds every setting that decides the result
    mantissa, exponent = f"{asked * factor:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


class LossWarnings:
    """Says each finding when it appears first, and again only where it went away between."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._said: frozenset[str] = frozenset()

    def check(self, state: State) -> None:
        """Look at a new state of the run."""
        found = advice_on(state)
        for one in found:
            if one.rule not in self._said:
                self._report(Caution(one.text, hint=one.hint))
        self._said = frozenset(one.rule for one in found)


def spike_caution(step: int, loss: float) -> Caution:
    """What the user is told about a spike."""
    return Caution(
        f"loss {loss:.3f} of step {step} is more than {DEVIATIONS:.0f} standard deviations above "
        "the steps before it; training goes on",
        hint="one such step is often one strange row; if losses stay high, lower --lr",
    )


class NotFinite(IntegrityError):
    """A loss or a gradient is no number; the update was not made. `state` is that of its moment."""

    def __init__(
        self, what: str, state: State, step: OptimiserStep, row_ids: Sequence[str]
    ) -> None:
        super().__init__(
            f"{what} is not finite at step {step.number}, rows {', '.join(row_ids)}",
            hint="the update was not made; look at these rows, lower --lr, "
            "or check the base model's files",
        )
        self.what, self.state, self.step = what, state, step
