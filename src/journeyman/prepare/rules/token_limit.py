"""Answers cut off by a token limit, found by counting if the log has no finish reason.

Three ways, the most reliable first: count with the producer's own vocabulary and compare with the
logged limit; find the vocabulary under which lengths pile up at one length, which shows the limit
and the model; without a vocabulary, find many answers of exactly one length in characters or bytes.
Covered: answers without a `finish_reason`. Not covered: an answer that ended on its own within
three tokens of the limit (it counts as cut off); producers whose vocabulary is not on this machine.

`vocabularies_here` finds the vocabularies on this machine; nothing is built or downloaded.
"""

import itertools
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from journeyman.data.markdown import has_open_fence
from journeyman.events import Reporter, ignore
from journeyman.llama_cpp.finding import VARIABLE
from journeyman.llama_cpp.tools import CONVERTER
from journeyman.model.known_vocabularies import FAMILIES, Vocabulary, family_of, find_vocabularies
from journeyman.prepare.rules.completeness import ends_well
from journeyman.prepare.rules.length_spikes import BELOW, LEAST, Spike, spike_at, spike_at_top
from journeyman.records import Interaction
from journeyman.runs import cache_folder

Key = tuple[str, int | None]
"""A producer, and the `max_tokens` that its answers were logged with."""

_SAMPLE = 120
"""So many answers of a group are tried with every vocabulary; the best one then counts all."""

# A log in which every call has another limit would fill the memory with samples.
_SAMPLED_GROUPS = 64

_BATCH = 1000

_LARGE = 20_000


class TokenLimitEvidence(Struct, frozen=True):
    """How many answers of one producer with one `max_tokens` were cut off, and what shows it.

    `vocabulary` and `models` say whose tokens were counted. Both are empty if no vocabulary fits;
    then `unit` is `characters` or `bytes`. `spike` is None if the known vocabulary decides alone.
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
    """The lines of the answers that ran into a limit, each with the reason; and the evidence.

    `counts`: the tokens of each answer by producer and `max_tokens`, if they were counted.
    """

    lines: dict[int, str]
    evidence: tuple[TokenLimitEvidence, ...]
    counts: "dict[Key, array[int]]"


class _ProducerAnswers(Struct):
    """The answers of one producer with one `max_tokens`: numbers of all, texts of a sample.

    `new` is 1 for a text that was not seen before: an answer that repeats piles up at its own
    length. When the sample has twice the size it should have, every other text is removed.
    """

    lines: "array[int]" = field(default_factory=lambda: array("q"))
    characters: "array[int]" = field(default_factory=lambda: array("q"))
    size_bytes: "array[int]" = field(default_factory=lambda: array("q"))
    new: bytearray = field(default_factory=bytearray)
    seen: set[int] = field(default_factory=set)
    sample: list[str] = field(default_factory=list)
    stride: int = 1

    def add(self, line: int, text: str, *, sampled: bool) -> None:
        key = hash(text)
        if sampled and len(self.lines) % self.stride == 0 and key not in self.seen:
            self.sample.append(text)
            if len(self.sample) > 2 * _SAMPLE:
                self.sample = self.sample[::2]
                self.stride *= 2
        self.new.append(key not in self.seen)
        self.seen.add(key)
        self.lines.append(line)
        self.characters.append(len(text))
        self.size_bytes.append(_size_bytes(text))

    def stops_short(self, lengths: Sequence[int], spike: Spike) -> bool:
        """Whether at least half of the sample's texts in a spike look cut off.

        Short answers of one kind have one length too. lengths: of the sample's texts.
        """
        pairs = zip(self.sample, lengths, strict=True)
        piled = [text for text, length in pairs if spike.low <= length <= spike.high]
        cut = sum(has_open_fence(text) or not ends_well(text) for text in piled)
        return 2 * cut >= len(piled)

    def different(self, lengths: Sequence[int]) -> list[int]:
        """The lengths of different texts only."""
        return list(itertools.compress(lengths, self.new))


def find_cut_offs(
    interactions: Iterable[Interaction], vocabularies: Sequence[Vocabulary]
) -> CutOffs:
    """The answers that a token limit cut off.

    interactions: iterated twice. Memory: 24 bytes for each answer, and samples.
    """
    groups: dict[Key, _ProducerAnswers] = {}
    for one, text in _without_reason(interactions):
        key = _key(one)
        if key not in groups:
            groups[key] = _ProducerAnswers()
        groups[key].add(one.line, text, sampled=len(groups) <= _SAMPLED_GROUPS)
    chosen = {key: _vocabulary(key, group, vocabularies) for key, group in groups.items()}
    known = {key: one for key, one in chosen.items() if one is not None}
    counts = _counted(interactions, known, {key: len(groups[key].lines) for key in known})
    lines: dict[int, str] = {}
    evidence = []
    for key, group in groups.items():
        vocabulary = chosen[key]
        found = _by_tokens(key, group, counts[key], vocabulary) if vocabulary else None
        if found is None:
            counts.pop(key, None)
            found = _by_equal_lengths(key, group)
        if found is not None:
            evidence.append(found[0])
            lines |= found[1]
    return CutOffs(lines, tuple(evidence), counts)


_CutOffsOfGroup = tuple[TokenLimitEvidence, dict[int, str]]


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _key(interaction: Interaction) -> Key:
    return interaction.producer or "", interaction.max_tokens


def _without_reason(interactions: Iterable[Interaction]) -> Iterator[tuple[Interaction, str]]:
    for one in interactions:
        if one.answer and not one.finish_reason and one.answer.strip():
            yield one, one.answer


def _vocabulary(
    key: Key, group: _ProducerAnswers, vocabularies: Sequence[Vocabulary]
) -> Vocabulary | None:
    """The vocabulary to count with: the producer's own, else the one with the clearest spike."""
    producer, limit = key
    family = family_of(producer)
    # So few make no spike, and reading a vocabulary takes half a second.
    if len(group.sample) < LEAST and (family is None or limit is None):
        return None
    known = [one for one in vocabularies if one.family == family]
    if known and limit is not None:
        return known[0]
    fitting: list[tuple[float, int]] = []
    candidates = known or list(vocabularies)
    for place, one in enumerate(candidates):
        lengths = one.counts(group.sample)
        spike = _spike(lengths, limit)
        if spike is not None and group.stops_short(lengths, spike):
            fitting.append((spike.chance_log10, place))
    return candidates[min(fitting)[1]] if fitting else None


def _counted(
    interactions: Iterable[Interaction],
    chosen: Mapping[Key, Vocabulary],
    sizes: Mapping[Key, int],
) -> "dict[Key, array[int]]":
    """The tokens of every answer in the groups that have a vocabulary, a thousand at a time.

    In a large group an answer with fewer bytes than the limit has tokens is not counted and gets 0:
    no token is shorter than a byte, so it cannot have run into the limit.
    """
    counts: dict[Key, array[int]] = {key: array("q") for key in chosen}
    waiting: dict[Key, list[str]] = {key: [] for key in chosen}
    for one, text in _without_reason(interactions) if chosen else ():
        key = _key(one)
        if key in waiting:
            least = (key[1] or 0) - BELOW
            short = sizes[key] > _LARGE and len(text.encode("utf-8", "replace")) < least
            waiting[key].append("" if short else text)
            if len(waiting[key]) >= _BATCH:
                counts[key].extend(chosen[key].counts(waiting[key]))
                waiting[key].clear()
    for key, texts in waiting.items():
        counts[key].extend(chosen[key].counts(texts))
    return counts


def _by_tokens(
    key: Key, group: _ProducerAnswers, counts: Sequence[int], vocabulary: Vocabulary
) -> _CutOffsOfGroup | None:
    producer, limit = key
    family = vocabulary.family
    spike = _spike(group.different(counts), limit)
    known = limit is not None and family_of(producer) == family
    if not known and spike is None:
        return None
    low = limit - BELOW if known and limit is not None else spike.low if spike else 0
    high = max(counts) if known or spike is None else spike.high
    reasons = {
        count: f"{count} tokens of `{family.name}`; the limit is {limit or high}"
        for count in set(counts)
    }
    pairs = zip(group.lines, counts, strict=True)
    lines = {line: reasons[count] for line, count in pairs if low <= count <= high}
    if not lines:
        return None
    evidence = TokenLimitEvidence(
        producer, limit, len(counts), len(lines), "tokens", family.name, family.models, spike
    )
    return evidence, lines


def _spike(counts: Sequence[int], limit: int | None) -> Spike | None:
    return spike_at_top(counts, width=BELOW) if limit is None else spike_at(counts, limit)


def _by_equal_lengths(key: Key, group: _ProducerAnswers) -> _CutOffsOfGroup | None:
    """A program that cuts by characters or bytes leaves many answers of exactly one length."""
    producer, limit = key
    for unit, lengths in (("characters", group.characters), ("bytes", group.size_bytes)):
        spike = spike_at_top(group.different(lengths), width=0)
        measure = len if unit == "characters" else _size_bytes
        if spike is not None and group.stops_short(list(map(measure, group.sample)), spike):
            reason = f"{spike.high} {unit}: {spike.hits} answers have as many, and none has more"
            pairs = zip(group.lines, lengths, strict=True)
            lines = {line: reason for line, length in pairs if length == spike.high}
            evidence = TokenLimitEvidence(
                producer, limit, len(lengths), len(lines), unit, spike=spike
            )
            return evidence, lines
    return None


_FOLDER = "models"


def vocabularies_here(report: Reporter = ignore) -> tuple[Vocabulary, ...]:
    """The vocabularies that come with a llama.cpp on this machine; none without one.

    Searched: the folder that `JOURNEYMAN_LLAMA_CPP` names (and the tree of its converter), then the
    builds in the cache, newest first.
    """
    for folder in _folders():
        if all((folder / family.file).is_file() for family in FAMILIES):
            return find_vocabularies(folder, report)
    return ()


def _folders() -> Iterator[Path]:
    given = os.environ.get(VARIABLE)
    if given:
        folder = Path(given).expanduser()
        yield folder / _FOLDER
        yield (folder / CONVERTER).resolve().parent / _FOLDER
        return
    builds = (cache_folder() / "llama.cpp").glob(f"*/{_FOLDER}")
    yield from sorted(builds, key=lambda path: path.stat().st_mtime_ns, reverse=True)
