"""Answers cut off by a limit on their tokens, found by counting where the log keeps no reason.

Three ways, the surest first: the producer's own vocabulary and the noted cap; the one vocabulary
under which lengths pile up at the noted cap, which tells the cap and who wrote the answers; and,
with no vocabulary, many answers of exactly one length in characters or bytes.
Covered: answers without a `finish_reason`. Not covered: an answer that ended by itself within three
tokens of the cap, which counts as cut off; a producer whose vocabulary is not at hand.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from journeyman.data.length_spikes import BELOW, Spike, spike_at, spike_at_top
from journeyman.model.vocabularies import Vocabulary, family_of
from journeyman.records import Interaction

RULE = "token-cap"
_SAMPLE = 120
"""Answers of one group that are tried with every vocabulary; the best one then counts them all."""


class Evidence(Struct, frozen=True):
    """What was found in the answers of one producer under one cap.

    `vocabulary` and `models` say whose tokens were counted; both empty where none fitted, and then
    `unit` is `characters` or `bytes`. `spike` is None where a known vocabulary alone decides.
    """

    producer: str
    max_tokens: int | None
    answers: int
    cut_off: int
    unit: str
    vocabulary: str = ""
    models: str = ""
    spike: Spike | None = None


class CutOffs(Struct, frozen=True):
    """The lines of the answers that ran into a cap, each with the reason; and the evidence."""

    lines: dict[int, str]
    evidence: tuple[Evidence, ...]


class _Answer(Struct, frozen=True):
    line: int
    text: str


def find_cut_offs(
    interactions: Iterable[Interaction], vocabularies: Sequence[Vocabulary]
) -> CutOffs:
    """The answers that a cap on tokens cut off, by producer and cap."""
    groups: dict[tuple[str, int | None], list[_Answer]] = defaultdict(list)
    for one in interactions:
        if one.answer and one.answer.strip() and not one.finish_reason:
            key = (one.producer or "", one.max_tokens)
            groups[key].append(_Answer(one.line, one.answer))
    lines: dict[int, str] = {}
    evidence = []
    for (producer, cap), answers in groups.items():
        found = _in_group(producer, cap, answers, vocabularies)
        if found is not None:
            evidence.append(found[0])
            lines |= found[1]
    return CutOffs(lines, tuple(evidence))


_Found = tuple[Evidence, dict[int, str]]


def _in_group(
    producer: str, cap: int | None, answers: list[_Answer], vocabularies: Sequence[Vocabulary]
) -> _Found | None:
    family = family_of(producer)
    known = [one for one in vocabularies if one.family == family]
    if known and cap is not None:
        found = _by_known(producer, cap, answers, known[0])
    else:
        found = _by_spike(producer, cap, answers, known or vocabularies)
    return found or _by_equal_lengths(producer, cap, answers)


def _by_known(
    producer: str, cap: int, answers: list[_Answer], vocabulary: Vocabulary
) -> _Found | None:
    counts = vocabulary.counts([one.text for one in answers])
    pairs = zip(answers, counts, strict=True)
    lines = {one.line: _words(n, cap, vocabulary) for one, n in pairs if n >= cap - BELOW}
    family = vocabulary.family
    evidence = Evidence(
        producer,
        cap,
        len(answers),
        len(lines),
        "tokens",
        family.name,
        family.models,
        spike_at(counts, cap),
    )
    return (evidence, lines) if lines else None


def _by_spike(
    producer: str, cap: int | None, answers: list[_Answer], vocabularies: Sequence[Vocabulary]
) -> _Found | None:
    """The vocabulary under which a pile at the cap is least probable by chance."""
    sample = [one.text for one in answers[:: -(-len(answers) // _SAMPLE)]]
    tried = [(_spike(one.counts(sample), cap), one) for one in vocabularies]
    fitting = [(spike.chance_log10, spike, one) for spike, one in tried if spike is not None]
    if not fitting:
        return None
    _, spike, vocabulary = min(fitting, key=lambda found: found[0])
    counts = vocabulary.counts([one.text for one in answers])
    # From the whole group: the sample's longest answer need not be the longest of all.
    spike = _spike(counts, cap) or spike
    lines = {
        one.line: _words(count, cap or spike.high, vocabulary)
        for one, count in zip(answers, counts, strict=True)
        if spike.low <= count <= spike.high
    }
    family = vocabulary.family
    evidence = Evidence(
        producer, cap, len(answers), len(lines), "tokens", family.name, family.models, spike
    )
    return evidence, lines


def _spike(counts: Sequence[int], cap: int | None) -> Spike | None:
    return spike_at_top(counts, width=BELOW) if cap is None else spike_at(counts, cap)


def _by_equal_lengths(producer: str, cap: int | None, answers: list[_Answer]) -> _Found | None:
    """A program that cuts by characters or bytes leaves many answers of exactly one length."""
    measures = {
        "characters": [len(one.text) for one in answers],
        "bytes": [len(one.text.encode("utf-8", "surrogatepass")) for one in answers],
    }
    for unit, lengths in measures.items():
        spike = spike_at_top(lengths, width=0)
        if spike is not None:
            lines = {
                one.line: f"{length} {unit}, as {spike.hits} answers have, and none has more"
                for one, length in zip(answers, lengths, strict=True)
                if length == spike.high
            }
            return Evidence(producer, cap, len(answers), len(lines), unit, spike=spike), lines
    return None


def _words(count: int, cap: int, vocabulary: Vocabulary) -> str:
    return f"{count} tokens of `{vocabulary.family.name}`, the cap is {cap}"
