"""The base's own chat template, from what this machine has: no weights, no torch, no network.

Where the base is not here, the text is rendered in ChatML, which is what Qwen2.5 renders, and the
event says so. The trainer renders the messages anew with the base's own template.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError
from journeyman.events import Caution, Note, Reporter
from journeyman.gguf.header import read_gguf_header
from journeyman.model.chat_template import CHATML, read_template, render, sha256_of_template, shows
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.embedded import embedded_gguf
from journeyman.model.gguf_tokenizer import write_tokenizer
from journeyman.model.hub import is_hub_name
from journeyman.records import Message, Tool
from journeyman.temporary_folders import OwnedFolder

_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Renderer(Struct, frozen=True):
    """A chat template with its tokenizer's special tokens. `origin` says whose it is.

    `tokenizer` is the text of the base's tokenizer.json, empty where it is not on this machine.
    """

    template: str
    tokens: dict[str, str]
    origin: str
    tokenizer: str = ""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the template."""
        return sha256_of_template(self.template)

    def text(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The whole conversation. Raises DataRefused where the template refuses its messages."""
        return render(self.template, messages, False, tools, **self.tokens)

    def shows(self, tool: Tool) -> bool:
        """Whether the template has a place for tools on offer, tried with this one."""
        return shows(tool, self.template, **self.tokens)


def find_renderer(base: str, report: Reporter) -> Renderer:
    """The template of a base by the name a user writes, else ChatML with an event that says so.

    Raises UsageError where the name is neither a model of the hub nor a folder or GGUF file here.
    """
    path = Path(base).expanduser()
    if path.is_dir():
        found = _in_folder(path, base)
    elif base == EMBEDDED or (path.is_file() and path.suffix == ".gguf"):
        found = _in_gguf(embedded_gguf() if base == EMBEDDED else path, base)
    elif is_hub_name(base) and path.suffix != ".gguf":
        cached = _in_hub_cache(base)
        found = _in_folder(cached, base) if cached else None
    else:
        raise UsageError(
            f"the base `{base}` is neither a model folder nor a GGUF file",
            hint=f"check the path, name a model of the hub, or use `--base {EMBEDDED}`",
        )
    return found or _chatml(base, report)


def _chatml(base: str, report: Reporter) -> Renderer:
    text = f"the chat template of `{base}` is not on this machine: `text` is rendered in ChatML"
    if "qwen2" in base.casefold():
        report(Note(f"{text}, as Qwen2.5 does"))
    else:
        report(
            Caution(
                text,
                hint=f"where `{base}` uses another format, download it and prepare again;"
                " training renders the messages with its own template in any case",
            )
        )
    return Renderer(CHATML, {}, "ChatML")


def _in_folder(folder: Path, base: str) -> Renderer | None:
    template = read_template(folder)
    if not template:
        return None
    path = folder / "tokenizer.json"
    tokenizer = path.read_text(encoding="utf-8") if path.is_file() else ""
    return Renderer(template, _tokens_in(folder), base, tokenizer)


def _in_gguf(gguf: Path, base: str) -> Renderer | None:
    with OwnedFolder("tokenizer") as folder:
        write_tokenizer(read_gguf_header(gguf, architectures=None), folder, name=base)
        return _in_folder(folder, base)


def _in_hub_cache(name: str) -> Path | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    # The rest of the package takes a quarter of a second to import.
    if not (Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _tokens_in(folder: Path) -> dict[str, str]:
    """The special tokens that a template may use, as transformers would find them."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IntegrityError(
                f"`{path}` is no JSON: {error}", hint="download the model again"
            ) from error
        for token in _TOKENS:
            value = values.get(token) if isinstance(values, dict) else None
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[token] = text
    return tokens
