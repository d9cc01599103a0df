"""Writing the tokenizer in a GGUF file as the files that transformers and llama.cpp read.

Covered: byte-level BPE with the pre-tokenizers below; a GGUF holds only the names of their
splitting rules. Not covered: SentencePiece and others, which are refused by name.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import IntegrityError, UsageError
from journeyman.files import write_json, write_text
from journeyman.gguf.header import GgufHeader

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PRE_TOKENIZERS = ("gpt-2", "qwen2", "smollm")
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
# From Qwen2's own tokenizer.json.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_ROLES = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}


def write_tokenizer(header: GgufHeader, folder: Path, *, name: str) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja. `name` is for errors."""
    template = header.chat_template
    if not template:
        raise UsageError(
            f"`{name}` has no chat template", hint="use an instruct model, or a folder that has one"
        )
    write_text(folder / "tokenizer.json", _tokenizer(header, name).to_str(pretty=False))
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": header.values.get("tokenizer.ggml.add_bos_token") is True,
    }
    if header.context_tokens is not None:
        config["model_max_length"] = header.context_tokens
    write_json(folder / "tokenizer_config.json", {**config, **role_tokens(header)})
    write_text(folder / "chat_template.jinja", template)


def role_tokens(header: GgufHeader) -> dict[str, str]:
    """The tokens that a template may use: `bos_token` and others, if the file has them."""
    tokens = header.texts(_TOKENS)
    numbers = {role: header.integer(key) for role, key in _ROLES.items()}
    return {
        role: tokens[number]
        for role, number in numbers.items()
        if number is not None and 0 <= number < len(tokens)
    }


def special_tokens(header: GgufHeader) -> dict[str, int]:
    """Ids of the tokens that llama.cpp recognises in a prompt, but not in plain text."""
    pairs = zip(header.texts(_TOKENS), header.integers(_KINDS), strict=False)
    return {
        token: number
        for number, (token, kind) in enumerate(pairs)
        if token and kind in (_UNKNOWN, _CONTROL)
    }


def _tokenizer(header: GgufHeader, name: str) -> "Tokenizer":
    from tokenizers import AddedToken, Tokenizer

    tokens, kinds = header.texts(_TOKENS), header.integers(_KINDS)
    if len(kinds) != len(tokens) or not tokens:
        raise IntegrityError(
            f"`{name}` has {len(tokens)} tokens but {len(kinds)} token types",
            hint="download or make the file again",
        )
    tokenizer = Tokenizer.from_str(json.dumps(_description(header, tokens, name)))
    added = [
        AddedToken(token, normalized=False, special=kind == _CONTROL)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    return tokenizer


def _description(header: GgufHeader, tokens: list[str], name: str) -> dict[str, object]:
    kind, pre = header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise UsageError(
            f"`{name}` has a `{kind}` tokenizer with the pre-tokenizer `{pre}`; "
            f"supported: `gpt2` with {', '.join(PRE_TOKENIZERS)}",
            hint="use the model's folder in the Hugging Face layout",
        )
    byte_level: dict[str, object] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": pre != "qwen2",
    }
    splits: dict[str, list[dict[str, object]]] = {
        "gpt-2": [],
        "smollm": [{"type": "Digits", "individual_digits": True}],
        "qwen2": [
            {
                "type": "Split",
                "pattern": {"Regex": _QWEN2_WORDS},
                "behavior": "Isolated",
                "invert": False,
            }
        ],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits[pre], byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": header.texts("tokenizer.ggml.merges"),
        },
    }
