"""Rows that wait on the disk while the whole log is judged, so that no text waits in memory.

The file has no name: nothing is left of it, whatever happens.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from journeyman.records import Interaction

_LENGTH_BYTES = 4


class Spill:
    """Interactions in the order they came; a context manager. Iterate as often as you like.

    scratch: a folder with room for the whole log; by default the system's temporary one.
    """

    def __init__(self, *, scratch: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by __exit__
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Interaction)

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, interaction: Interaction) -> None:
        """Take a row. Not while another is iterating."""
        data = self._encoder.encode(interaction)
        self._file.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def __iter__(self) -> Iterator[Interaction]:
        return map(self._decoder.decode, self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """The rows as MessagePack, for whoever only hands them on."""
        self._file.seek(0)
        while head := self._file.read(_LENGTH_BYTES):
            yield self._file.read(int.from_bytes(head, "big"))
