"""How long the answers of each producer are, in bins, and what shows a token limit."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from journeyman.prepare.examine import Examination
from journeyman.prepare.records import Lengths
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import CUT_OFF
from journeyman.prepare.rules.token_limit import TokenLimitEvidence

_BINS = 60
_PRODUCERS = 8
_WIDTHS = (1, 2, 5)


def answer_lengths(examined: Examination) -> tuple[Lengths, ...]:
    """The lengths for each of the producers with the most answers."""
    rows = [row for row in examined.rows if row.answer]
    evidence: dict[str, TokenLimitEvidence] = {}
    for one in sorted(examined.cut_offs.evidence, key=lambda one: one.answers):
        evidence[one.producer] = one
    by_producer: dict[str, list[ExaminedLine]] = defaultdict(list)
    for row in rows:
        by_producer[row.producer].append(row)
    largest = sorted(by_producer.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        _lengths(producer, found, evidence.get(producer), examined)
        for producer, found in largest[:_PRODUCERS]
    )


def _lengths(
    producer: str,
    rows: Sequence[ExaminedLine],
    evidence: TokenLimitEvidence | None,
    examined: Examination,
) -> Lengths:
    counts = examined.cut_offs.counts.get((producer, evidence.max_tokens)) if evidence else None
    # In a large log short answers are not counted in tokens: then characters show more.
    counts = counts if counts and all(counts) else None
    lengths: Sequence[int] = counts or [row.characters for row in rows]
    cap = None
    if evidence is not None and evidence.unit == ("tokens" if counts else "characters"):
        cap = evidence.max_tokens if counts else None
        cap = cap or (evidence.spike.high if evidence.spike else None)
    width = _width(max(lengths, default=0))
    bins = Counter(length // width for length in lengths)
    return Lengths(
        producer=producer or "unknown",
        unit="tokens" if counts else "characters",
        start=0,
        width=width,
        counts=tuple(bins[at] for at in range(max(bins, default=-1) + 1)),
        answers=len(lengths),
        cap=cap,
        cut_off=evidence.cut_off if evidence else sum(CUT_OFF in row.rules for row in rows),
        vocabulary=evidence.vocabulary if evidence else "",
        evidence=_sentence(evidence, rows),
    )


def _width(longest: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... that gives at most `_BINS` bins."""
    scale = 1
    while True:
        for step in _WIDTHS:
            if longest // (step * scale) < _BINS:
                return step * scale
        scale *= 10


def _sentence(evidence: TokenLimitEvidence | None, rows: Iterable[ExaminedLine]) -> str:
    if evidence is None:
        cut = sum(CUT_OFF in row.rules for row in rows)
        return f"{cut} cut off, by their finish reason or their text" if cut else ""
    whose = f" of `{evidence.vocabulary}` ({evidence.models})" if evidence.vocabulary else ""
    logged = f"; the logged limit is {evidence.max_tokens}" if evidence.max_tokens else ""
    share = f"{evidence.cut_off} of {evidence.answers} answers"
    if evidence.spike is None:
        return f"{share} have as many tokens{whose} as the limit{logged}"
    spike = evidence.spike
    span = f"{spike.low} to {spike.high}" if spike.low < spike.high else f"{spike.high}"
    return f"{share} have {span} {evidence.unit}{whose}, more than chance explains{logged}"
