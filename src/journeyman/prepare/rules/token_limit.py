"""Answers cut off by a limit on their tokens, found by counting where the log keeps no reason.

Three ways, the surest first: the producer's own vocabulary and the noted cap; the one vocabulary
under which lengths pile up at the noted cap, which tells the cap and who wrote the answers; and,
with no vocabulary, many answers of exactly one length in characters or bytes.
Covered: answers without a `finish_reason`. Not covered: an answer that ended by itself within three
tokens of the cap, which counts as cut off; a producer whose vocabulary is not at hand.

Where vocabularies of well-known models lie on this machine; nothing is built or fetched.
"""

import itertools
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

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
"""A producer, and the cap that its answers had."""

_SAMPLE = 120
"""Answers of one group that are tried with every vocabulary; the best one then counts them all."""

# Logs in which every call has a cap of its own would else fill the memory with samples.
_SAMPLED_GROUPS = 64

_BATCH = 1000

_LARGE = 20_000


class TokenLimitEvidence(Struct, frozen=True):
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
    """The lines of the answers that ran into a cap, each with the reason; and the evidence.

    `counts` holds the tokens of each answer where they were counted, by producer and cap.
    """

    lines: dict[int, str]
    evidence: tuple[TokenLimitEvidence, ...]
    counts: "dict[Key, array[int]]"

    def measured(self, interaction: Interaction) -> bool:
        """Whether tokens of answers like this one were counted and a cap was found."""
        return not interaction.finish_reason and _key(interaction) in self.counts


class _ProducerAnswers(Struct):
    """The answers of one producer under one cap: numbers of all, texts of a sample.

    `new` is 1 for a text that was not seen before: one answer said often piles up at its own
    length. Of a sample that has become twice too large, every other text is let go.
    """

    lines: "array[int]"
    characters: "array[int]"
    size_bytes: "array[int]"
    new: bytearray
    seen: set[int]
    sample: list[str]
    stride: int = 1

    def add(self, line: int, text: str, *, sampled: bool) -> None:
        if sampled and len(self.lines) % self.stride == 0 and hash(text) not in self.seen:
            self.sample.append(text)
            if len(self.sample) > 2 * _SAMPLE:
                self.sample = self.sample[::2]
                self.stride *= 2
        key = hash(text)
        self.new.append(key not in self.seen)
        self.seen.add(key)
        self.lines.append(line)
        self.characters.append(len(text))
        self.size_bytes.append(_size_bytes(text))

    def stops_short(self, lengths: Sequence[int], spike: Spike) -> bool:
        """Whether at least half of the sample's texts in a pile do not look whole.

        Short answers of one kind have one length too. lengths: of the sample's texts.
        """
        pairs = zip(self.sample, lengths, strict=True)
        piled = [text for text, length in pairs if spike.low <= length <= spike.high]
        cut = sum(has_open_fence(text) or not ends_well(text) for text in piled)
        return 2 * cut >= len(piled)

    def different(self, lengths: Sequence[int]) -> list[int]:
        """The lengths of different texts alone."""
        return list(itertools.compress(lengths, self.new))


def find_cut_offs(
    interactions: Iterable[Interaction], vocabularies: Sequence[Vocabulary]
) -> CutOffs:
    """The answers that a cap on tokens cut off, by producer and cap.

    interactions: iterated twice. Memory: 24 bytes for each answer, and samples.
    """
    groups: dict[Key, _ProducerAnswers] = {}
    for one, text in _unexplained(interactions):
        key = _key(one)
        if key not in groups:
            groups[key] = _ProducerAnswers(
                array("q"), array("q"), array("q"), bytearray(), set(), []
            )
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


_Found = tuple[TokenLimitEvidence, dict[int, str]]


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _key(interaction: Interaction) -> Key:
    return interaction.producer or "", interaction.max_tokens


def _unexplained(interactions: Iterable[Interaction]) -> Iterator[tuple[Interaction, str]]:
    for one in interactions:
        if one.answer and not one.finish_reason and one.answer.strip():
            yield one, one.answer


def _vocabulary(
    key: Key, group: _ProducerAnswers, vocabularies: Sequence[Vocabulary]
) -> Vocabulary | None:
    """Whose tokens to count: the producer's own, else those under which lengths pile up best."""
    producer, cap = key
    family = family_of(producer)
    # So few make no spike, and reading a vocabulary takes half a second.
    if len(group.sample) < LEAST and (family is None or cap is None):
        return None
    known = [one for one in vocabularies if one.family == family]
    if known and cap is not None:
        return known[0]
    fitting: list[tuple[float, int]] = []
    candidates = known or list(vocabularies)
    for place, one in enumerate(candidates):
        lengths = one.counts(group.sample)
        spike = _spike(lengths, cap)
        if spike is not None and group.stops_short(lengths, spike):
            fitting.append((spike.chance_log10, place))
    return candidates[min(fitting)[1]] if fitting else None


def _counted(
    interactions: Iterable[Interaction],
    chosen: Mapping[Key, Vocabulary],
    sizes: Mapping[Key, int],
) -> "dict[Key, array[int]]":
    """The tokens of every answer in the groups that have a vocabulary, a thousand at a time.

    In a large group an answer with fewer bytes than the cap has tokens is not counted and has 0:
    no token is shorter than a byte, so it cannot have run into the cap.
    """
    counts: dict[Key, array[int]] = {key: array("q") for key in chosen}
    waiting: dict[Key, list[str]] = {key: [] for key in chosen}
    for one, text in _unexplained(interactions) if chosen else ():
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
) -> _Found | None:
    producer, cap = key
    family = vocabulary.family
    spike = _spike(group.different(counts), cap)
    known = cap is not None and family_of(producer) == family
    if not known and spike is None:
        return None
    low = cap - BELOW if known and cap is not None else spike.low if spike else 0
    high = max(counts) if known or spike is None else spike.high
    said = cap or high
    words = {
        count: f"{count} tokens of `{family.name}`, the cap is {said}" for count in set(counts)
    }
    pairs = zip(group.lines, counts, strict=True)
    lines = {line: words[count] for line, count in pairs if low <= count <= high}
    if not lines:
        return None
    evidence = TokenLimitEvidence(
        producer, cap, len(counts), len(lines), "tokens", family.name, family.models, spike
    )
    return evidence, lines


def _spike(counts: Sequence[int], cap: int | None) -> Spike | None:
    return spike_at_top(counts, width=BELOW) if cap is None else spike_at(counts, cap)


def _by_equal_lengths(key: Key, group: _ProducerAnswers) -> _Found | None:
    """A program that cuts by characters or bytes leaves many answers of exactly one length."""
    producer, cap = key
    for unit, lengths in (("characters", group.characters), ("bytes", group.size_bytes)):
        spike = spike_at_top(group.different(lengths), width=0)
        measure = len if unit == "characters" else _size_bytes
        if spike is not None and group.stops_short(list(map(measure, group.sample)), spike):
            words = f"{spike.high} {unit}, as {spike.hits} answers have, and none has more"
            lines = {
                line: words
                for line, length in zip(group.lines, lengths, strict=True)
                if length == spike.high
            }
            return TokenLimitEvidence(
                producer, cap, len(lengths), len(lines), unit, spike=spike
            ), lines
    return None


_FOLDER = "models"


def vocabularies_here(report: Reporter = ignore) -> tuple[Vocabulary, ...]:
    """The vocabularies beside a llama.cpp that is here already; none where there is none.

    Looked at: what `JOURNEYMAN_LLAMA_CPP` names (also the tree that its converter lies in), then
    the builds in the cache, the newest first.
    """
    for folder in _places():
        if all((folder / family.file).is_file() for family in FAMILIES):
            return find_vocabularies(folder, report)
    return ()


def _places() -> Iterator[Path]:
    given = os.environ.get(VARIABLE)
    if given:
        folder = Path(given).expanduser()
        yield folder / _FOLDER
        yield (folder / CONVERTER).resolve().parent / _FOLDER
        return
    builds = (cache_folder() / "llama.cpp").glob(f"*/{_FOLDER}")
    yield from sorted(builds, key=lambda path: path.stat().st_mtime_ns, reverse=True)
