"""Vocabularies of well-known models, to count an answer's tokens as its producer counted them.

They are the `ggml-vocab-*.gguf` files of llama.cpp's source tree: tokenizers without weights. The
first use turns a file into a tokenizer.json in the cache, which loads ten times as fast.
Covered: the families below, whose splitting rules are known exactly. Not covered: makers who
publish no vocabulary (Anthropic, Google's Gemini), and OpenAI's, which is in no such file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.files import sha256_of, write_text
from journeyman.runs import cache_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Raise it when the conversion changes, so that old files are made again.
LAYOUT = 1
_BATCH = 1000


class Family(Struct, frozen=True):
    """Models that share a vocabulary.

    `file` is its file in the folder; `producers` matches the start of a producer's or model's name.
    """

    name: str
    file: str
    models: str
    producers: str


# A model's name decides before its provider's: `groq/llama-3.1-8b` is Llama 3.
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
    Family("qwen35", "ggml-vocab-qwen35.gguf", "Qwen 3.5", r"qwen-?3[._]5"),
    Family("gpt-2", "ggml-vocab-gpt-2.gguf", "GPT-2", r"gpt-?2(?![\d.])"),
)


class Vocabulary(Struct, frozen=True):
    """A family's tokenizer, ready to count."""

    family: Family
    tokenizer: "Tokenizer"

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, none added at either end."""
        found: list[int] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            encoded = self.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            found += map(len, encoded)
        return found


def family_of(producer: str | None) -> Family | None:
    """The family that a producer's name (`provider/model`) speaks of, or None."""
    for part in reversed((producer or "").casefold().split("/")):
        for family in FAMILIES:
            if re.match(family.producers, part):
                return family
    return None


def load_vocabularies(folder: Path, report: Reporter = ignore) -> tuple[Vocabulary, ...]:
    """Every vocabulary whose file is in the folder, in the order of `FAMILIES`; none is no error.

    Raises IntegrityError for a file that cannot be read as a tokenizer.
    """
    there = [family for family in FAMILIES if (folder / family.file).is_file()]
    return tuple(Vocabulary(one, _tokenizer(folder / one.file, report)) for one in there)


def _tokenizer(gguf: Path, report: Reporter) -> "Tokenizer":
    from tokenizers import Tokenizer

    folder = cache_folder() / "vocabularies"
    made = folder / f"{gguf.stem}-{sha256_of(gguf)[:16]}-{LAYOUT}.json"
    # Two processes may both make it; each write is whole, and they are equal.
    if not made.is_file():
        report(Progress(gguf.stem, 0, detail="reading the vocabulary"))
        write_text(made, _converted(gguf).to_str())
        report(ProgressEnded(gguf.stem, f"{gguf.stem}: kept in `{made}`"))
    return Tokenizer.from_file(str(made))


def _converted(gguf: Path) -> "Tokenizer":
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    from journeyman.model.gguf_header import read_header

    read_header(gguf)
    try:
        architecture, description, _ = get_gguf_tokenizer(str(gguf))
        tokenizer: Tokenizer
        tokenizer, _ = convert_gguf_tokenizer(architecture, description)
    except (ValueError, KeyError, IndexError) as error:
        raise IntegrityError(
            f"`{gguf}` cannot be read as a vocabulary: {error}",
            hint="remove it, or take it again from llama.cpp's source tree",
        ) from error
    return tokenizer
