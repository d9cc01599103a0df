"""How many answers of a real log ran into the cap of 500 tokens: 204 of 298, by their token counts.

Skips where the log or llama.cpp's vocabularies are absent.
"""

import os
from pathlib import Path

import pytest

from journeyman.data.interactions import read_interactions
from journeyman.model.known_vocabularies import FAMILIES, find_vocabularies
from journeyman.prepare.rules.completeness import RULES
from journeyman.prepare.rules.token_limit import CutOffs, find_cut_offs
from journeyman.records import Interaction
from journeyman.runs import cache_folder
from tests.logs import REAL_LOG, needs_real_log
from tests.needs import LLAMA_CPP, missing

pytestmark = [pytest.mark.slow, needs_real_log]


@pytest.fixture(scope="module")
def rows() -> list[Interaction]:
    return [row for row in read_interactions(REAL_LOG) if isinstance(row, Interaction)]


def _vocabulary_folder() -> Path | None:
    """Beside the converter of llama.cpp's own tree, or kept with the tools that were built."""
    own = os.environ.get("JOURNEYMAN_LLAMA_CPP")
    places = [(Path(own) / "convert_hf_to_gguf.py").resolve().parent / "models"] if own else []
    places += sorted((cache_folder() / "llama.cpp").glob("*/models"))
    complete = (
        place for place in places if all((place / family.file).is_file() for family in FAMILIES)
    )
    return next(complete, None)


@pytest.fixture(scope="module")
def cut_offs(rows: list[Interaction]) -> CutOffs:
    folder = _vocabulary_folder()
    if folder is None:
        pytest.skip(missing("the folder of vocabularies in llama.cpp's sources", LLAMA_CPP))
    return find_cut_offs(rows, find_vocabularies(folder))


def test_204_of_298_answers_ran_into_the_cap(cut_offs: CutOffs) -> None:
    found = {one.producer: one for one in cut_offs.evidence}
    assert len(cut_offs.lines) == 204
    assert (found["tongyi"].cut_off, found["tongyi"].answers) == (86, 86)
    assert (found["replicate"].cut_off, found["replicate"].answers) == (118, 211)


def test_the_vocabulary_tells_who_wrote_the_answers(cut_offs: CutOffs) -> None:
    # The log names the providers only, and the project's papers say Llama 3.1.
    found = {one.producer: one.vocabulary for one in cut_offs.evidence}
    assert found == {"tongyi": "qwen2", "replicate": "llama-spm"}


def test_the_text_alone_finds_at_least_0_96_of_them(
    rows: list[Interaction], cut_offs: CutOffs
) -> None:
    (cut_off,) = (rule for rule in RULES if rule.id == "cut-off")
    by_text = {row.line for row in rows if cut_off.find(row) is not None}
    right = len(by_text & set(cut_offs.lines))
    assert right / len(cut_offs.lines) >= 0.96
    assert right / len(by_text) >= 0.99
