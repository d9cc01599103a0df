"""Where vocabularies of well-known models lie on this machine; nothing is built or fetched."""

import os
from collections.abc import Iterator
from pathlib import Path

from journeyman.events import Reporter, ignore
from journeyman.llama_cpp.finding import VARIABLE
from journeyman.llama_cpp.tools import CONVERTER
from journeyman.model.vocabularies import FAMILIES, Vocabulary, find_vocabularies
from journeyman.runs import cache_folder

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
