"""Warnings about the losses of a run, each with the settings that may help.

Covered: overfitting (the validation loss rises while the training loss falls), a training loss that
does not fall, loss spikes, and a loss or gradient that is not finite. Only the last ends the run.
Not covered: whether the answers got better; `journeyman evaluate` measures that.
"""

from collections.abc import Sequence
from statistics import fmean

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Reporter
from journeyman.train.batching.batches import OptimiserStep
from journeyman.train.state import SPIKE_DEVIATIONS, State, Validation

# A smaller change of a loss, as a share of it, is not worth a warning.
_LEAST_CHANGE = 0.01
# Without two whole epochs, a run must have so many steps for its thirds to be compared.
_LEAST_STEPS = 20


class LossWarning(Struct, frozen=True):
    """One finding about a run: `rule` names it, `text` says what was seen, `hint` what to do."""

    rule: str
    text: str
    hint: str


class LossWarnings:
    """Reports each warning when it first applies, and again only if it went away in between."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._reported: frozenset[str] = frozenset()

    def check(self, state: State) -> None:
        """Report what is new in this state of the run."""
        warnings = loss_warnings_of(state)
        for one in warnings:
            if one.rule not in self._reported:
                self._report(Caution(one.text, hint=one.hint))
        self._reported = frozenset(one.rule for one in warnings)


def loss_warnings_of(state: State) -> tuple[LossWarning, ...]:
    """Every warning that the losses so far give."""
    warnings = (_validation_rises(state), _training_does_not_fall(state))
    return tuple(one for one in warnings if one is not None)


def best_validation(validations: Sequence[Validation]) -> Validation | None:
    """The earliest validation with the lowest loss; step 0 is the base model. None without any."""
    return min(validations, key=lambda one: (one.loss, one.step), default=None)


def _validation_rises(state: State) -> LossWarning | None:
    best = best_validation(state.validations)
    if best is None:
        return None
    last = state.validations[-1]
    if last.loss <= best.loss * (1 + _LEAST_CHANGE):
        return None
    start = (
        f"{best.loss:.4f} after step {best.step}" if best.step else f"the base's {best.loss:.4f}"
    )
    text = f"the validation loss rose from {start} to {last.loss:.4f} after step {last.step}"
    if _training_falls(state):
        text = f"overfitting: {text}, while the training loss fell"
    remedies = [f"a lower learning rate (`--lr {_lr(state, 0.5)}`)", _fewer_epochs(state, best)]
    return LossWarning("validation-rises", text, f"try {', '.join(remedies)}, or more data")


def _fewer_epochs(state: State, best: Validation) -> str:
    epochs = state.taken[best.step - 1].epoch + 1 if best.step else 1
    given = state.identity.settings.get("epochs")
    is_fewer = isinstance(given, int | float) and epochs < given
    return f"fewer epochs (`--epochs {epochs}`)" if is_fewer else "fewer epochs"


def _training_falls(state: State) -> bool:
    means = _training_means(state)
    return means is not None and means.last <= means.first * (1 - _LEAST_CHANGE)


def _training_does_not_fall(state: State) -> LossWarning | None:
    means = _training_means(state)
    if means is None or _training_falls(state):
        return None
    change = f"{means.first:.4f} in the first {means.part}, {means.last:.4f} in the last"
    if means.last > means.first * (1 + _LEAST_CHANGE):
        return LossWarning(
            "training-does-not-fall",
            f"the training loss rises: {change}",
            f"try a lower learning rate (`--lr {_lr(state, 0.5)}`)",
        )
    return LossWarning(
        "training-does-not-fall",
        f"the training loss hardly changes: {change}",
        f"try a higher learning rate (`--lr {_lr(state, 2)}`) or more epochs, "
        "and check the rows with `journeyman doctor`",
    )


class _TrainingMeans(Struct, frozen=True):
    """Mean training losses of the first and the last part of a run. part: what each spans."""

    part: str
    first: float
    last: float


def _training_means(state: State) -> _TrainingMeans | None:
    """The means of the first and the last whole epoch, else of thirds; None with too few steps.

    Two epochs have the same rows, so that their means differ by learning and not by chance.
    """
    epochs: dict[int, list[float]] = {}
    for one in state.taken:
        epochs.setdefault(one.epoch, []).append(one.loss)
    steps_an_epoch = len(next(iter(epochs.values()), ()))
    whole = [losses for losses in epochs.values() if len(losses) == steps_an_epoch]
    if len(whole) > 1:
        return _TrainingMeans("epoch", fmean(whole[0]), fmean(whole[-1]))
    losses = [one.loss for one in state.taken]
    if len(losses) < _LEAST_STEPS:
        return None
    third = len(losses) // 3
    return _TrainingMeans(f"{third} steps", fmean(losses[:third]), fmean(losses[-third:]))


def _lr(state: State, factor: float) -> str:
    """The run's learning rate times a factor, as a flag takes it."""
    lr = state.identity.settings.get("lr")
    assert isinstance(lr, float)  # an identity has every setting that decides the result
    mantissa, exponent = f"{lr * factor:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def spike_warning(step: int, loss: float) -> Caution:
    """The warning about a loss spike."""
    return Caution(
        f"loss spike: {loss:.3f} at step {step} is more than {SPIKE_DEVIATIONS:.0f} standard "
        "deviations above the steps before it; training goes on",
        hint="a single spike is often one unusual row; if losses stay high, lower --lr",
    )


class NotFinite(IntegrityError):
    """A loss or a gradient is NaN or infinite, so the update of the step was not made.

    what: `the loss` or `the gradient`. state: as it was when this happened.
    """

    def __init__(
        self, what: str, state: State, step: OptimiserStep, row_ids: Sequence[str]
    ) -> None:
        super().__init__(
            f"{what} is not finite at step {step.number}, rows {', '.join(row_ids)}",
            hint="the update was not made; look at these rows, lower --lr, "
            "or check the base model's files",
        )
        self.what, self.state, self.step = what, state, step
