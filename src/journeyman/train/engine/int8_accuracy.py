"""Whether INT8 is exact enough for this model, and what is done where it is not.

Some rows of the training set go through the model once, wide and narrow (`fast.calibration`).
Products whose inputs are rounded coarsely are smoothed by what they read; where the answers still
diverge by more than the bound, the products that are furthest off stay wide until they do not.
What was found is kept in the cache, so that a run that is resumed goes on as it began.
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
from journeyman.train.engine.arithmetic import arithmetic_for

if TYPE_CHECKING:
    from journeyman.train.engine.fast.calibration import Calibration, Int8Cost, ProductDivergences
    from journeyman.train.engine.fast.int8_plan import Int8Plan
    from journeyman.train.engine.fast.linear import Arithmetic

BOUND = 0.005
"""The most that the answers may diverge, as a share of the wide model's loss."""
# Goes up with what decides, so that an earlier decision is not taken for a new one.
_VERSION = "2"
# Minutes on two cores for the largest models, seconds for small ones.
_MOST_TOKENS, _LEAST_TOKENS, _OPERATIONS = 2048, 512, 2e13
# Of all products, the shares that are kept wide in turn until the bound holds.
_SHARES_WIDE = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
_TASK = "calibrating int8"
# Of the wide products, how many are told by name.
_NAMED = 6


class Int8Accuracy(Struct, frozen=True):
    """What a calibration found. Divergences are shares of the loss; plain: before any was wide."""

    divergence: float
    plain: float
    trained_tokens: int


def int8_plan_of(
    settings: TrainSettings, base: BaseModel, rows: Sequence[TokenRow], report: Reporter
) -> "Int8Plan":
    """How the products of a run with resolved settings are made narrow.

    rows: of the training split. Raises IntegrityError for damaged weights, MachineError where the
    run does not fit.
    """
    from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, write_int8_plan

    if settings.engine != "fast" or settings.precision != "int8" or not settings.calibrate:
        return PLAIN_INT8
    arithmetic = arithmetic_for(settings)
    few = spread(rows, _tokens_for(base, arithmetic))
    path = cache_folder() / "calibrations" / f"{_key(settings, base, few, arithmetic)}.safetensors"
    kept = _kept(path, report)
    if kept is None:
        kept = _calibrated(settings, base, few, arithmetic, report)
        if not math.isfinite(kept[1].divergence):
            # The base itself gives no numbers: the run's first loss says so.
            return PLAIN_INT8
        path.parent.mkdir(parents=True, exist_ok=True)
        write_int8_plan(path, kept[0], note=msgspec.json.encode(kept[1]).decode())
    _tell(*kept, report)
    return kept[0]


def _tokens_for(base: BaseModel, arithmetic: "Arithmetic") -> int:
    """How many tokens, each multiplied by the wide model and by the narrow one.

    The largest inputs want many; where nothing is smoothed by them, the least show the divergence.
    """
    if not arithmetic.has_narrow_inputs:
        return _LEAST_TOKENS
    from journeyman.model.base import read_config
    from journeyman.train.engine.fast.shape import shape_of

    shape = shape_of(read_config(base.folder))
    parameters = shape.layers * shape.layer_parameters + shape.vocabulary * shape.hidden
    return int(min(_MOST_TOKENS, max(_LEAST_TOKENS, _OPERATIONS / (4 * parameters))))


def spread(rows: Sequence[TokenRow], tokens: int) -> list[TokenRow]:
    """Rows from all over the split, of about so many tokens in all; at least one."""
    count = round(len(rows) * tokens / sum(len(row.ids) for row in rows))
    count = min(len(rows), max(1, count))
    return [rows[(2 * number + 1) * len(rows) // (2 * count)] for number in range(count)]


def _key(
    settings: TrainSettings,
    base: BaseModel,
    rows: Sequence[TokenRow],
    arithmetic: "Arithmetic",
) -> str:
    kernel = arithmetic.kernel
    form = "" if kernel is None else f"{kernel.largest} {kernel.block}"
    memory = f"{settings.memory_gib} {settings.micro_batch_tokens} {settings.max_tokens}"
    wide = " ".join(sorted(arithmetic.wide))
    method = f"{arithmetic.forward} {arithmetic.activations}"
    facts = (_VERSION, base.sha256, method, wide, form, memory)
    content = [str(row.ids) + str(row.trained) for row in rows]
    return content_id(*facts, versions().get("torch", ""), *content)


def _calibrated(
    settings: TrainSettings,
    base: BaseModel,
    rows: Sequence[TokenRow],
    arithmetic: "Arithmetic",
    report: Reporter,
) -> "tuple[Int8Plan, Int8Accuracy]":
    import torch

    from journeyman.machine.memory_limits import memory_room
    from journeyman.machine.torch_runtime import using_threads
    from journeyman.model.base import read_config
    from journeyman.train.engine.fast.calibration import Calibration
    from journeyman.train.engine.fast.memory import fitting_run, spare_bytes
    from journeyman.train.engine.fast.packing import pack
    from journeyman.train.engine.fast.shape import shape_of
    from journeyman.train.engine.fast.weights import FolderWeights

    config = read_config(base.folder)
    # A run that does not fit is refused before minutes are spent on it.
    fitting_run(shape_of(config), arithmetic, settings)
    with torch.inference_mode(), using_threads(settings.threads):
        calibration = Calibration(
            config,
            FolderWeights(base.folder),
            arithmetic,
            pack(rows),
            at_layer=lambda at, layers: report(Progress(_TASK, at, layers, "layers")),
        )
        compared = calibration.compared()
        spare = spare_bytes(config, arithmetic, settings, memory_room())
        int8_plan, cost = _within_bound(calibration, compared, spare)
    report(ProgressEnded(_TASK))
    return int8_plan, Int8Accuracy(
        divergence=cost.share,
        plain=compared.cost.share,
        trained_tokens=cost.trained_tokens,
    )


def _within_bound(
    calibration: "Calibration", compared: "ProductDivergences", spare_bytes: float
) -> "tuple[Int8Plan, Int8Cost]":
    """The fewest products wide with which the bound holds, as far as the memory allows."""
    from journeyman.train.engine.fast.int8_plan import Int8Plan

    int8_plan, cost = Int8Plan(largest_inputs=compared.largest_inputs), compared.cost
    # Those of a group that is wide anyway are not off at all.
    errors = {name: error for name, error in compared.errors.items() if error}
    furthest = sorted(errors, key=lambda name: (-errors[name], name))
    for share in _SHARES_WIDE:
        if cost.share <= BOUND or not math.isfinite(cost.share):
            break
        wide = frozenset(furthest[: max(1, round(share * len(furthest)))])
        extra = sum(compared.wide_bytes[name] for name in wide)
        if extra > spare_bytes:
            break
        int8_plan = Int8Plan(wide, compared.largest_inputs, extra)
        cost = calibration.cost(int8_plan)
    return int8_plan, cost


def _tell(int8_plan: "Int8Plan", found: Int8Accuracy, report: Reporter) -> None:
    how = ", smoothed by what they read" if int8_plan.largest_inputs else ""
    report(
        Note(
            f"int8 products{how}: the base's answers diverge by {found.divergence:.2%} of its loss "
            f"(bound {BOUND:.1%}; {found.trained_tokens} tokens)"
        )
    )
    wide = sorted(int8_plan.wide)
    if wide:
        report(
            Note(
                f"{len(wide)} products are wide forward, for with all of them int8 it was "
                f"{found.plain:.2%}: {', '.join(wide[:_NAMED])}"
                + (" and more" if len(wide) > _NAMED else "")
            )
        )
    if found.divergence > BOUND:
        report(
            Caution(
                "int8 is less exact on this model than it should be, and the memory has no room "
                "for more wide products",
                hint="use `--precision bf16`, or give the run more memory",
            )
        )


def _kept(path: Path, report: Reporter) -> "tuple[Int8Plan, Int8Accuracy] | None":
    from journeyman.train.engine.fast.int8_plan import read_int8_plan

    if not path.is_file():
        return None
    try:
        int8_plan, note = read_int8_plan(path)
        return int8_plan, msgspec.json.decode(note, type=Int8Accuracy)
    except (IntegrityError, msgspec.DecodeError):
        report(Note(f"`{path}` cannot be read; int8 is calibrated again"))
        return None
