"""Vocabularies of well-known models, to count an answer's tokens as its producer did.

They are the `ggml-vocab-*.gguf` files of llama.cpp's source tree: tokenizers without weights. The
first use converts a file to a tokenizer.json in the cache, which loads many times faster.
Covered: the families below, whose splitting rules are known exactly. Not covered: producers
without such a file (Anthropic, OpenAI, Google's Gemini, Qwen 3.5, Llama 4).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.files import sha256_of, write_text
from journeyman.gguf.header import read_gguf_header
from journeyman.runs import cache_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Increase it when the conversion changes, so that old files are not used.
LAYOUT = 1
_BATCH = 1000


class Family(Struct, frozen=True):
    """Models that share a vocabulary.

    `file` is its name in the folder; `producers` matches the start of a producer's or model's name.
    """

    name: str
    file: str
    models: str
    producers: str


FAMILIES = (
    Family(
        "llama-spm",
        "ggml-vocab-llama-spm.gguf",
        "Llama 2, Code Llama, Mistral 7B v0.1 and v0.2",
        r"(meta-)?llama-?2(?!\d)|code-?llama",
    ),
    Family(
        "qwen2",
        "ggml-vocab-qwen2.gguf",
        "Qwen 1.5, 2, 2.5 and 3",
        r"qwen-?(1[._]5|2|3(?![._]5))|qwq",
    ),
    Family(
        "llama-bpe",
        "ggml-vocab-llama-bpe.gguf",
        "Llama 3, 3.1, 3.2 and 3.3",
        r"(meta-)?llama-?3",
    ),
)


class Vocabulary:
    """A family's tokenizer, loaded when it is first used."""

    def __init__(self, family: Family, gguf: Path, report: Reporter = ignore) -> None:
        self.family = family
        self._gguf = gguf
        self._report = report
        self._tokenizer: Tokenizer | None = None

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without any added at its ends.

        Raises IntegrityError if the file cannot be read as a tokenizer.
        """
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self._gguf, self._report)
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            encoded = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            counts += map(len, encoded)
        return counts


def family_of(producer: str | None) -> Family | None:
    """The family of a producer's name (`provider/model`), or None."""
    for part in reversed((producer or "").casefold().split("/")):
        for family in FAMILIES:
            if re.match(family.producers, part):
                return family
    return None


def find_vocabularies(folder: Path, report: Reporter = ignore) -> tuple[Vocabulary, ...]:
    """The vocabularies whose files are in the folder, in the order of `FAMILIES`."""
    return tuple(
        Vocabulary(family, folder / family.file, report)
        for family in FAMILIES
        if (folder / family.file).is_file()
    )


def _tokenizer(gguf: Path, report: Reporter) -> "Tokenizer":
    from tokenizers import Tokenizer

    folder = cache_folder() / "vocabularies"
    path = folder / f"{gguf.stem}-{sha256_of(gguf)[:16]}-{LAYOUT}.json"
    # Two processes may both write it: each write is atomic, and the contents are equal.
    if not path.is_file():
        report(Progress(gguf.stem, 0, detail="reading the vocabulary"))
        write_text(path, _convert(gguf).to_str())
        report(ProgressEnded(gguf.stem, f"{gguf.stem}: stored in `{path}`"))
    return Tokenizer.from_file(str(path))


def _convert(gguf: Path) -> "Tokenizer":
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    read_gguf_header(gguf, architectures=None, has_weights=False)
    try:
        architecture, description, _ = get_gguf_tokenizer(str(gguf))
        tokenizer: Tokenizer
        tokenizer, _ = convert_gguf_tokenizer(architecture, description)
    except (ValueError, KeyError, IndexError) as error:
        raise IntegrityError(
            f"`{gguf}` cannot be read as a vocabulary: {error}",
            hint="remove it, or copy it again from llama.cpp's source tree",
        ) from error
    return tokenizer
