"""Fault 48: answers of models whose makers restrict training on them are flagged, with terms."""

import re

import pytest

from journeyman.prepare.rules.licences import READ, RULES, TERMS, licence_rule, terms_of


@pytest.mark.parametrize(
    ("producer", "verdict"),
    [
        ("replicate/meta/llama-2-70b-chat", "forbids"),
        ("together/codellama-34b-instruct", "forbids"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "forbids"),
        ("ollama/llama3:70b", "forbids"),
        ("groq/llama-3.1-8b-instant", "conditions"),
        ("ollama/llama3.2:3b", "conditions"),
        ("groq/deepseek-r1-distill-llama-70b", "conditions"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "conditions"),
        ("openai/gpt-4o-mini", "forbids"),
        ("openai", "forbids"),
        ("openai/o3-mini", "forbids"),
        ("openai/gpt-oss-20b", "permits"),
        ("anthropic/claude-sonnet-4", "forbids"),
        ("google/gemini-2.5-pro", "forbids"),
        ("google/gemma-2-9b-it", "conditions"),
        ("google/gemma-4-12b", "permits"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "permits"),
        ("Qwen/Qwen2.5-Coder-3B-Instruct", "conditions"),
        ("Qwen/Qwen2.5-72B-Instruct", "conditions"),
        ("Qwen/Qwen3-8B", "permits"),
        ("deepseek-ai/DeepSeek-R1", "permits"),
        ("deepseek-ai/DeepSeek-V3", "conditions"),
        ("deepseek-ai/DeepSeek-V3.1", "permits"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "permits"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "permits"),
    ],
)
def test_a_model_is_known_by_its_name(producer: str, verdict: str) -> None:
    assert terms_of(producer).verdict == verdict


@pytest.mark.parametrize(
    "producer",
    [
        None,
        "",
        "replicate",
        "tongyi",
        "mock",
        "dashscope/qwen3-max",
        "qwen/qwen-plus",
        "x/llama-99",
        "mistral/mistral-large-latest",
        "deepseek/deepseek-chat",
        "local/my-gpt-like-model",
    ],
)
def test_what_the_table_does_not_hold_is_unknown_and_says_why(producer: str | None) -> None:
    terms = terms_of(producer)
    assert terms.verdict == "unknown"
    assert terms.says


def test_every_entry_has_a_source_and_the_table_a_date() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", READ)
    assert all(terms.source.startswith("https://") and terms.says for terms in TERMS)


def test_each_row_matches_one_rule_or_is_permitted() -> None:
    found = [
        licence_rule("replicate/llama-2-70b-chat"),
        licence_rule("groq/llama-3.1-8b"),
        licence_rule(None),
    ]
    assert found == ["licence-forbids", "licence-conditions", "licence-unknown"]
    assert found == [rule.id for rule in RULES]
    assert licence_rule("Qwen/Qwen3-8B") is None
