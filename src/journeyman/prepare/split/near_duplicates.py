"""Groups of nearly equal prompts, so that they never end up in two splits.

Prompts come one by one with the id of their exact group (`prompt_groups.group_of`); their texts
wait on the disk, not in memory. Two prompts are near if they share 0.8 of their pieces of five
characters; such pairs connect prompts to groups.
Promise: the same prompts give the same groups in any order. Up to `EXACT_PROMPTS` every near pair
is found. Above, MinHash proposes pairs and misses about two in a thousand at 0.8, fewer above; its
proposals are compared exactly, so a group is never a guess.
Time grows as n log n; memory is about 0.5 KB for each different prompt. Not covered: paraphrases.
"""

import tempfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.data.prompt_groups import prompt_turns
from journeyman.prepare.split.minhash import exact_pairs, proposed_groups, shingles
from journeyman.prepare.split.union_find import UnionFind
from journeyman.records import Message

EXACT_PROMPTS = 20_000
EXACT_CHARACTERS = 20_000_000


class NearGroups(Struct, frozen=True):
    """The group of each prompt. `joined` has only the prompts whose group has another id.

    `merged` maps groups of an earlier run to the group they are now part of, because a new prompt
    is near to both: the only case in which old rows may have to change their split. `exact`: every
    near pair was found, none was left to MinHash.
    """

    joined: dict[str, str]
    merged: dict[str, str]
    exact: bool

    def of(self, prompt: str) -> str:
        """The id of a prompt's group."""
        return self.joined.get(prompt, prompt)


def prompt_text(messages: Sequence[Message]) -> str:
    """The part of a conversation that `group_of` compares, as one text."""
    return "\n".join(prompt_turns(messages))


class NearDuplicates:
    """Collects prompts, then groups them. A context manager: texts wait in a nameless file.

    scratch: a folder with room for the text of all prompts; by default the system's temporary one.
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
        """Add a prompt: the id of its exact group, and its normalised text. Repeats are free."""
        if prompt in self._seen:
            return
        self._seen.add(prompt)
        data = text.encode("utf-8", "surrogatepass")
        self._file.write(data)
        self._prompts.append(prompt)
        self._ends.append(self._ends[-1] + len(data))

    def groups(self, earlier: Mapping[str, str] | None = None) -> NearGroups:
        """The groups of all prompts so far.

        earlier: prompt -> group in the run before. A group keeps its id; a new group gets the
        smallest id of its prompts, so that a prompt on its own keeps its id.
        """
        order = sorted(range(len(self._prompts)), key=self._prompts.__getitem__)
        exact = len(order) <= EXACT_PROMPTS and self._ends[-1] <= EXACT_CHARACTERS
        groups = UnionFind(len(order))
        if exact:
            for one, other in exact_pairs([shingles(self._text(at)) for at in order]):
                groups.join(one, other)
        else:
            proposed_groups(len(order), lambda at: self._text(order[at]), groups)
        return _named([self._prompts[at] for at in order], groups, earlier or {}, exact=exact)

    def _text(self, at: int) -> str:
        self._file.seek(self._ends[at])
        data = self._file.read(self._ends[at + 1] - self._ends[at])
        return data.decode("utf-8", "surrogatepass")


def _named(
    prompts: list[str], groups: UnionFind, earlier: Mapping[str, str], *, exact: bool
) -> NearGroups:
    """Names the groups. prompts: sorted, so that the first of a group is the smallest."""
    members: dict[int, list[str]] = {}
    for at, prompt in enumerate(prompts):
        members.setdefault(groups.root(at), []).append(prompt)
    joined: dict[str, str] = {}
    merged: dict[str, str] = {}
    for group in members.values():
        before = sorted({earlier[prompt] for prompt in group if prompt in earlier})
        name = before[0] if before else group[0]
        joined |= {prompt: name for prompt in group if prompt != name}
        merged |= dict.fromkeys(before[1:], name)
    return NearGroups(joined, merged, exact)
