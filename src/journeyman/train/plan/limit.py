"""How fast this machine could train at most, were it to do nothing but products."""

from journeyman.train.plan.records import Machine
from journeyman.train.plan.run import IntendedRun
from journeyman.train.plan.shape import ModelShape
from journeyman.train.plan.work import operations, total_work


def limit_tokens_per_s(
    machine: Machine | None, run: IntendedRun, shape: ModelShape
) -> float | None:
    """Real tokens a second at the measured rate of products, without padding; None: not measured.

    A program that computes less than every layer of every token (prefixes shared by rows) may be
    faster.
    """
    # The rate is that of FP32 or BF16 products; INT8 ones have no such limit.
    if machine is None or run.settings.precision in ("int8", "mixed"):
        return None
    work = total_work(one for step in run.work(padded=False) for one in step)
    return machine.product_rate * work.real / operations(shape, work)
