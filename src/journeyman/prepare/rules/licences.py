"""What the makers of models say about training other models on their answers: a table with dates.

It flags and never judges: whether a clause binds, and whom, is a lawyer's matter. A verdict is what
the clause itself says; `forbids` may be limited, as `says` tells, to models that compete.
Covered: the models below, by their names. Not covered: what a provider's own terms add to the
maker's, and models whose name the log does not hold: both are `unknown`, and that is not `permits`.
"""

import re
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from journeyman.prepare.rules.completeness import RowRule
from journeyman.records import Interaction

Verdict = Literal["forbids", "conditions", "permits", "unknown"]

READ = "2026-11-23"
"""The day on which the sources were last compared with this table."""


class Terms(Struct, frozen=True):
    """Terms of one family of models: how they are called, what they say, and where it is written.

    `names` matches the start of a producer's or model's name in lower case.
    """

    models: str
    names: str
    verdict: Verdict
    says: str
    source: str


_LLAMA = "https://github.com/meta-llama/"
_HUB = "https://huggingface.co/"
_APACHE = "Apache-2.0: no condition on outputs"
_MIT = "MIT: no condition on outputs"
_NAMING = (
    "a model trained on outputs and passed on must be called `Llama…` and say `Built with Llama`"
)

# The first that matches decides, so a part of a family stands before the family.
TERMS = (
    Terms(
        "Llama 3.1, 3.2, 3.3",
        r"(meta-)?llama-?3[._-]?[123](?![\db])|deepseek-r1-distill-llama",
        "conditions",
        _NAMING,
        f"{_LLAMA}llama-models/blob/main/models/llama3_1/LICENSE",
    ),
    Terms(
        "Llama 4",
        r"(meta-)?llama-?4(?!\d)",
        "conditions",
        _NAMING,
        f"{_LLAMA}llama-models/blob/main/models/llama4/LICENSE",
    ),
    Terms(
        "Llama 3",
        r"(meta-)?llama-?3(?!\d)",
        "forbids",
        "1.b.v: outputs may not improve another large language model than Llama 3",
        f"{_LLAMA}llama3/blob/main/LICENSE",
    ),
    Terms(
        "Llama 2, Code Llama",
        r"(meta-)?llama-?2(?!\d)|code-?llama",
        "forbids",
        "1.b.v: outputs may not improve another large language model than Llama 2",
        f"{_LLAMA}llama/blob/main/LICENSE",
    ),
    Terms("gpt-oss", r"gpt-oss", "permits", _APACHE, f"{_HUB}openai/gpt-oss-20b"),
    Terms(
        "OpenAI's services",
        r"openai$|azure-?openai$|chatgpt|gpt-[345]|o[134](-|$)|codex",
        "forbids",
        "output may not be used to develop models that compete with OpenAI",
        "https://openai.com/policies/row-terms-of-use/",
    ),
    Terms(
        "Anthropic's services",
        r"anthropic$|claude",
        "forbids",
        "the services may not be used to train competing models",
        "https://www.anthropic.com/legal/commercial-terms",
    ),
    Terms(
        "Gemini API",
        r"gemini",
        "forbids",
        "the services may not be used to develop models that compete with them",
        "https://ai.google.dev/gemini-api/terms",
    ),
    Terms(
        "Gemma 4",
        r"gemma-?4(?!\d)",
        "permits",
        _APACHE,
        "https://ai.google.dev/gemma/docs/gemma_4_license",
    ),
    Terms(
        "Gemma 1, 2, 3",
        r"gemma-?[123]?(?!\d)|codegemma",
        "conditions",
        "a model trained on outputs is a Model Derivative: the use restrictions go with it",
        "https://ai.google.dev/gemma/terms",
    ),
    Terms(
        "Qwen 2.5 3B",
        r"qwen-?2[._]5-(coder-)?3b",
        "conditions",
        "research licence: no commercial use; a model improved with it must say `Built with Qwen`",
        f"{_HUB}Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE",
    ),
    Terms(
        "Qwen 2.5 72B",
        r"qwen-?2[._]5-72b",
        "conditions",
        "a model improved with outputs and passed on must say `Built with Qwen`",
        f"{_HUB}Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE",
    ),
    Terms(
        "Qwen 2.5 in other sizes, Qwen 3 with open weights, QwQ 32B",
        r"qwen-?2[._]5-(coder-)?(0\.5|1\.5|7|14|32)b|qwen-?3-(coder-|next-)*\d|qwq-32b",
        "permits",
        _APACHE,
        f"{_HUB}Qwen/Qwen2.5-Coder-7B-Instruct/blob/main/LICENSE",
    ),
    Terms(
        "DeepSeek R1, V3-0324, V3.1, V3.2",
        r"deepseek-(r1|v3-0324|v3[._][12])",
        "permits",
        "MIT; the card of R1 names distillation for training other models",
        f"{_HUB}deepseek-ai/DeepSeek-R1",
    ),
    Terms(
        "DeepSeek V2, V3 and Coder with open weights",
        r"deepseek-(v2|v3|coder|llm|moe)",
        "conditions",
        "a model trained on outputs is a derivative: the use restrictions go with it",
        "https://github.com/deepseek-ai/DeepSeek-V3/blob/main/LICENSE-MODEL",
    ),
    Terms(
        "Mistral 7B, Mixtral, Mistral Nemo, Mistral Small 3",
        r"(open-)?(mistral-7b|mixtral-8x|mistral-nemo)|mistral-small-(3|24b)",
        "permits",
        _APACHE,
        f"{_HUB}mistralai/Mistral-7B-Instruct-v0.3",
    ),
    Terms("Phi 3 and 4", r"phi-?(3|4)", "permits", _MIT, f"{_HUB}microsoft/phi-4"),
    Terms(
        "SmolLM2", r"smollm-?2", "permits", _APACHE, f"{_HUB}HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
    Terms("OLMo 2", r"olmo-?2", "permits", _APACHE, f"{_HUB}allenai/OLMo-2-1124-7B-Instruct"),
    Terms("Granite 3", r"granite-?3", "permits", _APACHE, f"{_HUB}ibm-granite"),
)


def _unknown(reason: str) -> Terms:
    return Terms("", "", "unknown", reason, "")


def terms_of(producer: str | None) -> Terms:
    """The terms for a producer (`provider/model`); `unknown` with the reason where none match.

    The model's name decides before its provider's: `groq/llama-3.1-8b` is under Meta's terms.
    """
    if not producer:
        return _unknown("the log names no model and no provider")
    for part in reversed(producer.casefold().split("/")):
        for terms in TERMS:
            if re.match(terms.names, part):
                return terms
    if "/" not in producer:
        return _unknown(f"the log names `{producer}` and no model")
    return _unknown(f"`{producer}` is not in the table of {READ}")


class Usable(Struct, frozen=True):
    """Rows with a whole answer, rows whose terms permit training, and rows with both."""

    whole: int
    permitted: int
    both: int


def usable(interactions: Iterable[Interaction], whole_lines: frozenset[int]) -> Usable:
    """How much of a log is left. whole_lines: lines whose answers have no fault and no cut."""
    whole = permitted = both = 0
    for one in interactions:
        is_whole = one.line in whole_lines
        is_permitted = terms_of(one.producer).verdict == "permits"
        whole += is_whole
        permitted += is_permitted
        both += is_whole and is_permitted
    return Usable(whole, permitted, both)


def _forbids(interaction: Interaction) -> str | None:
    return _if("forbids", interaction)


def _conditions(interaction: Interaction) -> str | None:
    return _if("conditions", interaction)


def _unknowable(interaction: Interaction) -> str | None:
    return _if("unknown", interaction)


def _if(verdict: Verdict, interaction: Interaction) -> str | None:
    terms = terms_of(interaction.producer)
    if terms.verdict != verdict:
        return None
    return f"{terms.models}: {terms.says} ({terms.source})" if terms.models else terms.says


RULES = (
    RowRule("licence-forbids", "warning", "the maker's terms forbid such training", _forbids),
    RowRule("licence-conditions", "warning", "the maker's terms set conditions", _conditions),
    RowRule("licence-unknown", "warning", "nothing is known about the maker's terms", _unknowable),
)
