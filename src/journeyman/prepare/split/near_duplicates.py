"""Which prompts ask nearly the same, so that they never stand in two splits.

Prompts come one by one with the id of their exact group (`prompt_groups.group_of`); texts
wait on the disk, not in memory. Two prompts are near where they share 0.8 of all their pieces of
five characters; groups are what such pairs connect.
Promise: the same prompts give the same groups, in whatever order they come. Up to `EXACT_PROMPTS`
every such pair is found; above, MinHash proposes pairs and misses about two in a thousand at 0.8,
fewer above; what it proposes is compared exactly, so no group is ever a guess.
Time grows as n log n; memory about 0.5 KB for each different prompt. Not covered: paraphrases.
"""

import tempfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.data.prompt_groups import normalised
from journeyman.prepare.split.minhash import SHARE, Union, exact_pairs, proposed_groups, shingles
from journeyman.records import Message

EXACT_PROMPTS = 20_000
EXACT_CHARACTERS = 20_000_000


class NearGroups(Struct, frozen=True):
    """The group of each prompt. `joined` holds only prompts whose group has another id than theirs.

    `merged` maps groups of an earlier run to the one they have now become part of, because a new
    prompt is near to both: the one case in which old rows may have to change their split.
    """

    joined: dict[str, str]
    merged: dict[str, str]
    exact: bool

    def of(self, prompt: str) -> str:
        """The group's id for a prompt's id."""
        return self.joined.get(prompt, prompt)


def prompt_text(messages: Sequence[Message]) -> str:
    """What is compared of a conversation: what `group_of` compares, as one text."""
    answered = bool(messages) and messages[-1].role == "assistant"
    turns = messages[: -1 if answered else None]
    return "\n".join(normalised(turn.content) for turn in turns if turn.role != "system")


class NearDuplicates:
    """Collects prompts, then groups them. A context manager: texts lie in a file without a name.

    scratch: a folder with room for all the prompts' text; by default the system's temporary one.
    """

    def __init__(self, *, scratch: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by __exit__
        self._ends = array("Q", [0])
        self._prompts: list[str] = []
        self._seen: set[str] = set()

    def __enter__(self) -> "NearDuplicates":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, prompt: str, text: str) -> None:
        """Take a prompt: the id of its exact group, and its normalised text. Repeats are free."""
        if prompt in self._seen:
            return
        self._seen.add(prompt)
        data = text.encode("utf-8", "surrogatepass")
        self._file.write(data)
        self._prompts.append(prompt)
        self._ends.append(self._ends[-1] + len(data))

    def groups(self, earlier: Mapping[str, str] | None = None) -> NearGroups:
        """The groups of all prompts so far.

        earlier: prompt -> group of the run before. A group keeps the id it had; a new one gets the
        smallest id of its prompts, so that a prompt near to no other keeps its own.
        """
        order = sorted(range(len(self._prompts)), key=self._prompts.__getitem__)
        exact = len(order) <= EXACT_PROMPTS and self._ends[-1] <= EXACT_CHARACTERS
        union = Union(len(order))
        if exact:
            for one, other in exact_pairs([shingles(self._text(at)) for at in order]):
                union.join(one, other)
        else:
            proposed_groups(len(order), lambda at: self._text(order[at]), union)
        return _named([self._prompts[at] for at in order], union, earlier or {}, exact=exact)

    def _text(self, at: int) -> str:
        self._file.seek(self._ends[at])
        data = self._file.read(self._ends[at + 1] - self._ends[at])
        return data.decode("utf-8", "surrogatepass")


def _named(
    prompts: list[str], union: Union, earlier: Mapping[str, str], *, exact: bool
) -> NearGroups:
    """Names for the groups. prompts: sorted, so that the first of a group is the smallest."""
    members: dict[int, list[str]] = {}
    for at, prompt in enumerate(prompts):
        members.setdefault(union.root(at), []).append(prompt)
    joined: dict[str, str] = {}
    merged: dict[str, str] = {}
    for group in members.values():
        before = sorted({earlier[prompt] for prompt in group if prompt in earlier})
        name = before[0] if before else group[0]
        joined |= {prompt: name for prompt in group if prompt != name}
        merged |= dict.fromkeys(before[1:], name)
    return NearGroups(joined, merged, exact)


__all__ = ["SHARE", "NearDuplicates", "NearGroups", "prompt_text"]
