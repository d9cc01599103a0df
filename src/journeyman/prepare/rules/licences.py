"""A table of what the terms of models say about training other models on their answers.

It only shows the clauses; whether one binds you is a question for a lawyer. `forbids` may apply to
competing models only: `says` has the details.
Covered: the models below, by name. Not covered: terms that a provider adds, and models that the log
does not name: those are `unknown`, which does not mean `permits`.
"""

import re
from typing import Literal

from msgspec import Struct

from journeyman.prepare.rules.rule import Rule

Verdict = Literal["forbids", "conditions", "permits", "unknown"]

READ = "2026-11-23"
"""The day on which this table was last compared with its sources."""


class Terms(Struct, frozen=True):
    """The terms of one family of models, what they say, and where.

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

# The first match decides, so a special case comes before its family.
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
    """The terms for a producer (`provider/model`); `unknown` with the reason if none match.

    The model's name counts before the provider's: `groq/llama-3.1-8b` is under Meta's terms.
    """
    if not producer:
        return _unknown("the log names neither a model nor a provider")
    for part in reversed(producer.casefold().split("/")):
        for terms in TERMS:
            if re.match(terms.names, part):
                return terms
    if "/" not in producer:
        return _unknown(f"the log names only `{producer}`, not the model")
    return _unknown(f"`{producer}` is not in the table of {READ}")


def licence_rule(producer: str | None) -> str | None:
    """The id of the rule that the producer's terms match; None if they permit training."""
    verdict = terms_of(producer).verdict
    return None if verdict == "permits" else f"licence-{verdict}"


RULES = (
    Rule("licence-forbids", "warning", "the model's terms forbid training on its answers"),
    Rule("licence-conditions", "warning", "the model's terms set conditions for such training"),
    Rule(
        "licence-unknown",
        "warning",
        "licence unknown: the log names no model that we know",
    ),
)
