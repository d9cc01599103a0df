"""Small real models for tests: two layers, random weights, SmolLM2's tokenizer and template.

llama.cpp's converter knows a tokenizer by the ids it gives, so the tokenizer must be a real one.
"""

import functools
import json
from pathlib import Path
from typing import Literal

import torch

from journeyman.files import content_id, write_records
from journeyman.gguf.header import GgufHeader, read_gguf_header
from journeyman.model.base import find_base
from journeyman.model.chat import load_chat
from journeyman.model.chat_template import read_template, render
from journeyman.model.embedded import embedded_gguf
from journeyman.model.gguf_tokenizer import write_tokenizer
from journeyman.records import BaseModel, Check, Example, Message
from journeyman.runs import write_manifest

VOCABULARY = 49152
END_OF_TURN = 2


@functools.cache
def _header() -> GgufHeader:
    return read_gguf_header(embedded_gguf(), architectures=None)


def small_tokenizer(folder: Path) -> Path:
    """SmolLM2's tokenizer and chat template, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(_header(), folder, name="smollm2-135m")
    return folder


def small_model(
    folder: Path, architecture: Literal["qwen2", "llama"] = "qwen2", *, seed: int = 0
) -> Path:
    """A model folder in the hub's layout; random weights by seed, grouped attention heads."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    small_tokenizer(folder)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": architecture == "llama",
        "bos_token_id": 1,
        "eos_token_id": END_OF_TURN,
        "pad_token_id": END_OF_TURN,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if architecture == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**shape))
        else:
            model = LlamaForCausalLM(LlamaConfig(**shape))
        # Biases begin at zero, and a test of a zero bias could not fail.
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


VARIANTS = ("llama", "mistral", "qwen2", "qwen3", "llama3-rope", "yarn", "biased-llama")


VARIANT_VOCABULARY = 1024


def small_variant(folder: Path, variant: str) -> BaseModel:
    """One of the Llama family's shapes, made once in a folder: two layers, grouped heads.

    Biases and norms are random, so that one left out would be seen. It has no tokenizer.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    path = folder / variant
    base = BaseModel(variant, path, "a" * 64, "b" * 64, "folder")
    if path.is_dir():
        return base
    family = {"llama3-rope": "llama", "yarn": "qwen2", "biased-llama": "llama"}.get(
        variant, variant
    )
    config = AutoConfig.for_model(
        family,
        vocab_size=VARIANT_VOCABULARY,
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32 if family == "qwen3" else 16,
        max_position_embeddings=1024,
        tie_word_embeddings=variant in ("llama", "qwen3"),
        bos_token_id=1,
        eos_token_id=END_OF_TURN,
        pad_token_id=END_OF_TURN,
        **_OPTIONS.get(variant, {}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.1)
            elif "norm" in name:
                torch.nn.init.normal_(weight, mean=1.0, std=0.1)
    model.save_pretrained(path)
    return base


_OPTIONS: dict[str, dict[str, object]] = {
    "mistral": {"sliding_window": None},
    "biased-llama": {"attention_bias": True, "mlp_bias": True},
    "llama3-rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
}


def small_adapter(
    folder: Path,
    base: Path | str,
    *,
    rank: int = 4,
    alpha: int = 8,
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj"),
    size: float = 0.05,
    seed: int = 1,
) -> Path:
    """A PEFT LoRA adapter whose B is not zero; written as training writes it. `size`: std of B."""
    from peft import LoraConfig, get_peft_model

    from journeyman.model.base import load_causal_model

    found = find_base(str(base))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM"
        )
        model = get_peft_model(load_causal_model(found, torch.float32), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=size)
    model.peft_config["default"].base_model_name_or_path = str(base)
    # Else peft asks the hub whether the vocabulary is still the base's.
    model.save_pretrained(folder, save_embedding_layers=False)
    load_chat(found)  # the base must be one that a conversation can be written for
    (folder / "chat_template.jinja").write_text(read_template(found.folder) or "", encoding="utf-8")
    facts = {"name": str(base), "sha256": found.sha256, "template_sha256": found.template_sha256}
    write_manifest(folder, stage="train", settings={}, inputs={}, facts={"base": facts})
    return folder


TASKS = (
    ("Write a function `double(x)` that returns twice its argument.", "return 2 * x", "double"),
    ("Write a function `first(xs)` that returns the first item.", "return xs[0]", "first"),
    ("Write a function `is_even(n)` that says whether n is even.", "return n % 2 == 0", "is_even"),
    ("Write a function `negate(x)` that returns minus x.", "return -x", "negate"),
    ("Write a function `last(xs)` that returns the last item.", "return xs[-1]", "last"),
    ("Write a function `square(x)` that returns x times x.", "return x * x", "square"),
)


def small_example(number: int, template: str) -> Example:
    """One row: a one-line Python function, with a check that it meets."""
    task, body, name = TASKS[number % len(TASKS)]
    argument = task.split("(")[1].split(")")[0]
    answer = f"```python\ndef {name}({argument}):\n    {body}\n```"
    messages = (
        Message("system", "You write Python."),
        Message("user", f"{task} Variant {number}."),
        Message("assistant", answer),
    )
    return Example(
        id=content_id("small", str(number)),
        messages=messages,
        text=render(template, messages),
        agent="coder",
        task_id=f"task-{number}",
        status="success",
        source="small",
        group=content_id("group", str(number)),
        duration_s=20.0,
        checks=(Check("assert", f"assert callable({name})", 1, entry_point=name),),
    )


def small_dataset(
    folder: Path, *, train: int = 8, val: int = 2, test: int = 2, seed: int = 0
) -> Path:
    """train.jsonl, val.jsonl, test.jsonl and metadata.json of a few rows in SmolLM2's template."""
    template = _header().text("tokenizer.chat_template")
    counts = {"train": train, "val": val, "test": test}
    at = seed * 1000
    for split, count in counts.items():
        rows = [small_example(at + number, template) for number in range(count)]
        write_records(folder / f"{split}.jsonl", rows)
        at += count
    metadata = {"base": "smollm2-135m", "counts": counts, "policy": "salvage"}
    (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return folder
