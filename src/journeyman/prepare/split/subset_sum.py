"""Choose groups whose sizes add up to a number, exactly if possible."""

from collections.abc import Sequence

_PAIRS_LIMIT = 2**22
_MEMORY_LIMIT_BITS = 64 * 8 * 1024**2


def choose(sizes: Sequence[int], target: int) -> list[int]:
    """Positions of sizes that add up to `target`, or to the largest sum below it.

    Earlier positions are preferred: sums are built up in order until one hits the target.
    Memory: one bit for each sum and each size. (Bellman 1957, as a bit set.)
    """
    mask = (1 << (target + 1)) - 1
    sums = [1]
    for size in sizes:
        if sums[-1] >> target & 1:
            break
        sums.append((sums[-1] | sums[-1] << size) & mask)
    left = sums[-1].bit_length() - 1
    chosen = []
    for position in range(len(sums) - 2, -1, -1):
        if not sums[position] >> left & 1:
            chosen.append(position)
            left -= sizes[position]
    return chosen[::-1]


def choose_two(sizes: Sequence[int], first: int, second: int) -> tuple[list[int], list[int]] | None:
    """Two disjoint choices that add up to exactly `first` and `second`, or the closest pair.

    Closest: as few empty sides as possible (the rest is a side too), then the least distance from
    both. None if that would take more than 64 MiB or a few seconds.
    """
    total, largest = sum(sizes), max(sizes, default=0)
    limits = (min(total, first + largest), min(total, second + largest))
    # A pair (a, b) is the bit a * width + b; the row is wide enough for no carry into the next.
    width = limits[1] + largest + 1
    bits = width * (limits[0] + 1)
    if bits > _PAIRS_LIMIT or bits * len(sizes) > _MEMORY_LIMIT_BITS:
        return None
    row = (1 << (limits[1] + 1)) - 1
    mask = sum(row << (a * width) for a in range(limits[0] + 1))
    pairs = [1]
    for size in sizes:
        last = pairs[-1]
        pairs.append((last | last << (size * width) | last << size) & mask)
    reached = enumerate(reversed(f"{pairs[-1]:b}"))
    a, b = min(
        (divmod(bit, width) for bit, digit in reached if digit == "1"),
        key=lambda pair: _distance(pair, (first, second), total),
    )
    return _traced(sizes, pairs, width, a, b)


def _distance(pair: tuple[int, int], wanted: tuple[int, int], total: int) -> tuple[int, int, int]:
    sums = (*pair, total - sum(pair))
    goals = (*wanted, total - sum(wanted))
    missing = sum(goal > 0 and got == 0 for got, goal in zip(sums, goals, strict=True))
    return missing, sum(abs(x - y) for x, y in zip(pair, wanted, strict=True)), pair[0]


def _traced(
    sizes: Sequence[int], pairs: Sequence[int], width: int, a: int, b: int
) -> tuple[list[int], list[int]]:
    chosen: tuple[list[int], list[int]] = ([], [])
    for position in range(len(sizes) - 1, -1, -1):
        size, before = sizes[position], pairs[position]
        if before >> (a * width + b) & 1:
            continue
        if a >= size and before >> ((a - size) * width + b) & 1:
            chosen[0].append(position)
            a -= size
        else:
            chosen[1].append(position)
            b -= size
    return chosen[0][::-1], chosen[1][::-1]
