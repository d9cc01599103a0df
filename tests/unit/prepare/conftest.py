"""What the tests of `prepare` share: each known vocabulary, loaded once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journeyman.events import Reporter
from journeyman.model import known_vocabularies

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Load = Callable[[Path, Reporter], "Tokenizer"]


@pytest.fixture(scope="session")
def _loaded_once() -> Load:
    load: Load = known_vocabularies._tokenizer
    loaded: dict[object, Tokenizer] = {}

    def load_once(gguf: Path, report: Reporter) -> "Tokenizer":
        file = gguf.stat()
        key = (gguf, file.st_size, file.st_mtime_ns)
        if key not in loaded:
            loaded[key] = load(gguf, report)
        return loaded[key]

    return load_once


@pytest.fixture(autouse=True)
def _vocabularies_loaded_once(monkeypatch: pytest.MonkeyPatch, _loaded_once: Load) -> None:
    """Three of them take a second, and every preparation reads them."""
    monkeypatch.setattr(known_vocabularies, "_tokenizer", _loaded_once)
