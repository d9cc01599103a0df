"""Makes INT8 accurate enough for a model, by a calibration on some rows of the training set.

The rows go through the model once in full precision and once in INT8 (`fast.calibration`). Inputs
that INT8 rounds coarsely are smoothed by their largest magnitudes. If the answers still diverge by
more than the limit, the linear layers with the largest errors stay in full precision until they do
not. The resulting INT8 plan is kept in the cache, so that a resumed run computes as before.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Note, Progress, ProgressEnded, Reporter
from journeyman.files import content_id
from journeyman.records import BaseModel
from journeyman.runs import cache_folder, versions
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.recipe import FastRecipe, Recipe, with_int8_plan

if TYPE_CHECKING:
    from journeyman.train.engine.fast.calibration import Calibration, Int8Cost, ProductDivergences
    from journeyman.train.engine.fast.int8_plan import Int8Plan

LIMIT = 0.005
"""The most that the answers may diverge, as a share of the full-precision model's loss."""
# Part of the cache's key; raise it when the rules of the calibration change.
_VERSION = "2"
# Minutes on two cores for the largest models, seconds for small ones.
_MOST_TOKENS, _LEAST_TOKENS, _OPERATIONS = 2048, 512, 2e13
# The shares of all linear layers to keep in full precision, tried in turn.
_FULL_PRECISION_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
_TASK = "calibrating int8"
# How many of the full-precision layers a message names.
_NAMED = 6


class Int8Accuracy(Struct, frozen=True):
    """The accuracy of an INT8 plan. Divergences are shares of the loss.

    plain: with every linear layer in INT8.
    """

    divergence: float
    plain: float
    trained_tokens: int


def calibrate(
    recipe: Recipe, base: BaseModel, rows: Sequence[TokenRow], report: Reporter
) -> Recipe:
    """The recipe with its INT8 plan, from the cache or calibrated now.

    rows: of the training split. A recipe that needs no calibration is returned unchanged. Raises
    IntegrityError for damaged weights, MachineError if the run does not fit into memory.
    """
    from journeyman.train.engine.fast.int8_plan import write_int8_plan

    settings, fast = recipe.settings, recipe.fast
    if fast is None or settings.precision != "int8" or not settings.calibrate:
        return recipe
    sample = sample_rows(rows, _sample_tokens(fast))
    path = cache_folder() / "calibrations" / f"{_key(settings, base, sample, fast)}.safetensors"
    result = _read_cache(path, report)
    if result is None:
        result = _calibrate(recipe, fast, base, sample, report)
        int8_plan, accuracy = result
        if not math.isfinite(accuracy.divergence):
            # The base model itself is not finite, which the run's first loss will report.
            return recipe
        path.parent.mkdir(parents=True, exist_ok=True)
        write_int8_plan(path, int8_plan, note=msgspec.json.encode(accuracy).decode())
    _report(*result, report)
    return with_int8_plan(recipe, result[0])


def _sample_tokens(fast: FastRecipe) -> int:
    """How many tokens to calibrate on; each goes through the model twice.

    Smoothing needs many, to see the largest magnitudes. The divergence needs only a few.
    """
    if not fast.arithmetic.has_8_bit_inputs:
        return _LEAST_TOKENS
    shape = fast.shape
    parameters = shape.layers * shape.layer_parameters + shape.vocabulary * shape.hidden
    return int(min(_MOST_TOKENS, max(_LEAST_TOKENS, _OPERATIONS / (4 * parameters))))


def sample_rows(rows: Sequence[TokenRow], tokens: int) -> list[TokenRow]:
    """Rows spread evenly over the split, with about `tokens` tokens in all; at least one row."""
    count = round(len(rows) * tokens / sum(len(row.ids) for row in rows))
    count = min(len(rows), max(1, count))
    return [rows[(2 * number + 1) * len(rows) // (2 * count)] for number in range(count)]


def _key(
    settings: TrainSettings, base: BaseModel, rows: Sequence[TokenRow], fast: FastRecipe
) -> str:
    """Hash of everything that the plan depends on."""
    kernel = fast.arithmetic.kernel
    form = "" if kernel is None else f"{kernel.largest} {kernel.block}"
    memory = f"{settings.memory_gib} {settings.micro_batch_tokens} {settings.max_tokens}"
    method = f"{fast.arithmetic.forward} {fast.arithmetic.activations}"
    facts = (_VERSION, base.sha256, method, form, memory)
    content = [str(row.ids) + str(row.trained) for row in rows]
    return content_id(*facts, versions().get("torch", ""), *content)


def _calibrate(
    recipe: Recipe,
    fast: FastRecipe,
    base: BaseModel,
    rows: Sequence[TokenRow],
    report: Reporter,
) -> "tuple[Int8Plan, Int8Accuracy]":
    import torch

    from journeyman.machine.torch_runtime import using_threads
    from journeyman.train.engine.fast.calibration import Calibration
    from journeyman.train.engine.fast.memory import require_memory
    from journeyman.train.engine.fast.packing import pack
    from journeyman.train.engine.fast.weights import FolderWeights

    settings = recipe.settings
    # Refused before minutes are spent on the calibration.
    require_memory(fast.memory, settings)
    with torch.inference_mode(), using_threads(settings.threads):
        calibration = Calibration(
            recipe.config,
            FolderWeights(base.folder),
            fast.arithmetic,
            pack(rows),
            at_layer=lambda at, layers: report(Progress(_TASK, at, layers, "layers")),
        )
        divergences = calibration.divergences()
        spare = fast.memory.spare_bytes(settings)
        int8_plan, cost = _plan_within_limit(calibration, divergences, spare)
    report(ProgressEnded(_TASK))
    return int8_plan, Int8Accuracy(
        divergence=cost.share,
        plain=divergences.cost.share,
        trained_tokens=cost.trained_tokens,
    )


def _plan_within_limit(
    calibration: "Calibration", divergences: "ProductDivergences", spare_bytes: float
) -> "tuple[Int8Plan, Int8Cost]":
    """The plan with the fewest full-precision layers within the limit, or as many as fit."""
    from journeyman.train.engine.fast.int8_plan import Int8Plan

    int8_plan, cost = Int8Plan(largest_inputs=divergences.largest_inputs), divergences.cost
    # A layer that is in full precision anyway has no error.
    errors = {name: error for name, error in divergences.errors.items() if error}
    worst_first = sorted(errors, key=lambda name: (-errors[name], name))
    for share in _FULL_PRECISION_SHARES:
        if cost.share <= LIMIT or not math.isfinite(cost.share):
            break
        kept = frozenset(worst_first[: max(1, round(share * len(worst_first)))])
        extra = sum(divergences.full_precision_bytes[name] for name in kept)
        if extra > spare_bytes:
            break
        int8_plan = Int8Plan(kept, divergences.largest_inputs, extra)
        cost = calibration.cost(int8_plan)
    return int8_plan, cost


def _report(int8_plan: "Int8Plan", accuracy: Int8Accuracy, report: Reporter) -> None:
    smoothed = " with smoothed inputs" if int8_plan.largest_inputs else ""
    report(
        Note(
            f"INT8 calibration{smoothed}: the base's answers diverge by {accuracy.divergence:.2%} "
            f"of its loss (limit {LIMIT:.1%}, measured on {accuracy.trained_tokens} tokens)"
        )
    )
    kept = sorted(int8_plan.full_precision)
    if kept:
        report(
            Note(
                f"kept {len(kept)} linear layers in full precision, because with all layers in "
                f"INT8 the answers diverge by {accuracy.plain:.2%}: {', '.join(kept[:_NAMED])}"
                + (f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else "")
            )
        )
    if accuracy.divergence > LIMIT:
        report(
            Caution(
                "INT8 is less accurate on this model than it should be, and more layers in full "
                "precision do not fit into memory",
                hint="use `--precision bf16`, or give the run more memory",
            )
        )


def _read_cache(path: Path, report: Reporter) -> "tuple[Int8Plan, Int8Accuracy] | None":
    from journeyman.train.engine.fast.int8_plan import read_int8_plan

    if not path.is_file():
        return None
    try:
        int8_plan, note = read_int8_plan(path)
        return int8_plan, msgspec.json.decode(note, type=Int8Accuracy)
    except (IntegrityError, msgspec.DecodeError):
        report(Note(f"cannot read `{path}`, so INT8 is calibrated again"))
        return None
