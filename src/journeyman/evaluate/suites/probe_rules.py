"""The rules that an answer to an instruction probe must meet, checked on its text.

Nothing is executed. Each rule is a word with its values in `probes.json`; an answer must meet all
rules of its probe. Covered: form, length, letters, fences, JSON, a few languages by their most
common words. Not covered: whether the text is true or useful.
"""

import ast
import json
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from io import StringIO

from msgspec import Struct

from journeyman.data.markdown import fenced_blocks
from journeyman.evaluate.scoring.extract_code import extract, parse

_COMMON = {
    "en": "the is and of to a in that it for with as are this you can be an or",
    "de": "der die das und ist nicht ein eine zu mit den von es sich auf in wird",
    "fr": "le la les et est une un des que pour dans il sur avec en ce du qui",
    "es": "el la los las y es una un que para en con por se del lo como su",
}
COMMON_WORDS = {name: frozenset(words.split()) for name, words in _COMMON.items()}
"""A text is in the language of which it holds the most of these words."""

REFUSALS = re.compile(
    r"\b(?:i(?:'m| am) sorry|i can(?:no|')t (?:help|assist|provide|comply|do that)|as an ai\b|"
    r"i(?:'m| am) (?:unable|not able)|i won't)",
    re.IGNORECASE,
)


class ProbeRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: `kind` names it, the other fields are its values."""

    kind: str
    text: str = ""
    texts: tuple[str, ...] = ()
    least: int = 0
    most: int = 10**6


def broken_rule(rules: Sequence[ProbeRule], answer: str) -> ProbeRule | None:
    """The first rule that an answer breaks, or None."""
    text = answer.replace("\r\n", "\n").strip()
    return next((rule for rule in rules if not KINDS[rule.kind](rule, text)), None)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", text)


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _within(rule: ProbeRule, count: int) -> bool:
    return rule.least <= count <= rule.most


def _one_of(rule: ProbeRule, text: str) -> bool:
    return text.removesuffix(".").casefold() in {one.casefold() for one in rule.texts}


def _items(rule: ProbeRule, text: str) -> bool:
    """All lines are items of a list, and there are as many as required."""
    lines = _lines(text)
    return _within(rule, len(lines)) and all(re.match(rule.text, line) for line in lines)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_keys(rule: ProbeRule, text: str) -> bool:
    found = _json(text)
    return isinstance(found, dict) and set(found) == set(rule.texts)


def _json_list(rule: ProbeRule, text: str) -> bool:
    found = _json(text)
    kinds = {"number": (int, float), "string": (str,)}[rule.text]
    return isinstance(found, list) and _within(rule, len(found)) and all(
        isinstance(item, kinds) and not isinstance(item, bool) for item in found
    )  # fmt: skip


def _defines(rule: ProbeRule, text: str) -> bool:
    """The answer's code has a function of this name with these parameters."""
    tree = parse(extract(text, rule.text).code)
    return tree is not None and any(
        isinstance(node, ast.FunctionDef)
        and node.name == rule.text
        and [argument.arg for argument in node.args.args] == list(rule.texts)
        for node in tree.body
    )


def _has_docstring(rule: ProbeRule, text: str) -> bool:
    tree = parse(extract(text, rule.text).code)
    return tree is not None and any(
        isinstance(node, ast.FunctionDef) and node.name == rule.text and ast.get_docstring(node)
        for node in tree.body
    )


def _has_no_comment(_: ProbeRule, text: str) -> bool:
    code = extract(text).code
    try:
        tokens = list(tokenize.generate_tokens(StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    return bool(code) and all(token.type != tokenize.COMMENT for token in tokens)


def _language(rule: ProbeRule, text: str) -> bool:
    words = [word.casefold() for word in _words(text)]
    counts = {name: sum(w in common for w in words) for name, common in COMMON_WORDS.items()}
    best = max(counts.values())
    return best > 0 and [name for name, n in counts.items() if n == best] == [rule.text]


def _letters(rule: ProbeRule, text: str) -> bool:
    """At least half of the letters are of one script."""
    letters = [character for character in text if character.isalpha()]
    return sum(bool(re.match(rule.text, c)) for c in letters) * 2 > len(letters) > 0


KINDS: Mapping[str, Callable[[ProbeRule, str], bool]] = {
    "one_of": _one_of,
    "pattern": lambda rule, text: re.fullmatch(rule.text, text, re.DOTALL) is not None,
    "contains": lambda rule, text: all(t.casefold() in text.casefold() for t in rule.texts),
    "excludes": lambda rule, text: all(t.casefold() not in text.casefold() for t in rule.texts),
    "starts": lambda rule, text: text.startswith(rule.text),
    "ends": lambda rule, text: text.endswith(rule.text),
    "words": lambda rule, text: _within(rule, len(_words(text))),
    "lines": lambda rule, text: _within(rule, len(_lines(text))),
    "characters": lambda rule, text: _within(rule, len(text)),
    "items": _items,
    "json_keys": _json_keys,
    "json_list": _json_list,
    "lower_case": lambda _, text: text == text.lower() and text != text.upper(),
    "upper_case": lambda _, text: text == text.upper() and text != text.lower(),
    "no_fence": lambda _, text: "```" not in text and "~~~" not in text,
    "only_fence": lambda _, text: text.startswith("```") and text.endswith("```")
    and len(fenced_blocks(text)) == 1,
    "parses": lambda _, text: parse(text) is not None,
    "defines": _defines,
    "docstring": _has_docstring,
    "no_comment": _has_no_comment,
    "language": _language,
    "letters": _letters,
    "no_refusal": lambda _, text: REFUSALS.search(text) is None,
}  # fmt: skip
