"""The base model's chat template, from files on this machine: no weights, no torch, no network.

Without the base on this machine, `text` is rendered in ChatML (as Qwen2.5 does), and an event says
so. Training renders the messages again with the base's own template.
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
    """A chat template and the special tokens of its tokenizer. `origin` names its model.

    `tokenizer` is the text of the base's tokenizer.json, empty if it is not on this machine.
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
        """The whole conversation. Raises DataRefused if the template refuses the messages."""
        return render(self.template, messages, False, tools, **self.tokens)

    def shows(self, tool: Tool) -> bool:
        """Whether the template shows tools, tried with this one."""
        return shows(tool, self.template, **self.tokens)


def find_renderer(base: str, report: Reporter) -> Renderer:
    """The template of a base model, or ChatML with an event that says so.

    base: as the user names it. Raises UsageError if it is neither a model of the Hugging Face hub
    nor a folder or GGUF file on this machine.
    """
    path = Path(base).expanduser()
    if path.is_dir():
        renderer = _in_folder(path, base)
    elif base == EMBEDDED or (path.is_file() and path.suffix == ".gguf"):
        renderer = _in_gguf(embedded_gguf() if base == EMBEDDED else path, base)
    elif is_hub_name(base) and path.suffix != ".gguf":
        cached = _in_hub_cache(base)
        renderer = _in_folder(cached, base) if cached else None
    else:
        raise UsageError(
            f"the base `{base}` is neither a model folder nor a GGUF file",
            hint=f"check the path, name a model on Hugging Face, or use `--base {EMBEDDED}`",
        )
    return renderer or _chatml(base, report)


def _chatml(base: str, report: Reporter) -> Renderer:
    text = f"the chat template of `{base}` is not on this machine: `text` is rendered in ChatML"
    if "qwen2" in base.casefold():
        report(Note(f"{text}, as Qwen2.5 does"))
    else:
        report(
            Caution(
                text,
                hint=f"if `{base}` uses another format, download it and run prepare again; training"
                " always renders the messages with the base's own template",
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

    # Importing the rest of the package takes a quarter of a second.
    if not (Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _tokens_in(folder: Path) -> dict[str, str]:
    """The special tokens that a template may use, as transformers reads them."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IntegrityError(
                f"`{path}` is not JSON: {error}", hint="download the model again"
            ) from error
        for token in _TOKENS:
            value = values.get(token) if isinstance(values, dict) else None
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[token] = text
    return tokens
