"""A training step of TRL in TRL's own environment, controlled by lines of JSON.

Caveats first. The seconds are of `SFTTrainer.training_step` only: forward and backward with its own
loss, summed over micro-batches of two rows (four if the variant says so), without optimiser and
without its collator, which favours it. The allocator has its default settings or those of the
environment, and no memory is returned between steps. The peak is the kernel's VmHWM since the
process started, so loading counts. Nothing of journeyman is imported.

The first output is `{"ready": true}`. Each input line `{"ids": [[..]], "trained": [[..]]}` is
answered with seconds, loss a trained token and peak memory, as `own_step.py` does for this project.

    PEER_PYTHON benchmarks/peers/trl_step.py --model FOLDER --variant best --threads 2
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

VARIANTS = {
    # The defaults: mixed precision if the processor supports it, and gradient checkpointing.
    "as-it-comes": {},
    "best": {"gradient_checkpointing": False},
    "best-compiled": {"gradient_checkpointing": False},
    # Without packing, TRL refuses a maximum length here.
    "best-padding-free": {
        "gradient_checkpointing": False,
        "padding_free": True,
        "max_length": None,
    },
    "padding-free-4-rows": {
        "gradient_checkpointing": False,
        "padding_free": True,
        "max_length": None,
        "per_device_train_batch_size": 4,
    },
    "best-packed": {"gradient_checkpointing": False, "packing": True},
}
ROWS = 2


def trainer_of(model_folder: str, variant: str, *, bf16: bool) -> object:
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    is_fp32 = not bf16 or variant == "as-it-comes"
    model = AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=torch.float32 if is_fp32 else torch.bfloat16, local_files_only=True
    )
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")),
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
    )
    config = SFTConfig(
        output_dir="/tmp/trl-step",
        use_cpu=True,
        bf16=bf16 and variant == "as-it-comes",
        completion_only_loss=True,
        report_to="none",
        **{"max_length": 2048, "per_device_train_batch_size": ROWS, **VARIANTS[variant]},
    )
    lora = LoraConfig(
        r=8,
        lora_alpha=32,
        lora_dropout=0.1,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
    row = {"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]}
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([row] * 4),
        processing_class=tokenizer,
        peft_config=lora,
    )


def peak_rss_bytes() -> int:
    """VmHWM, because `ru_maxrss` would include the peak of the parent process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def step(trainer: object, given: dict[str, list[list[int]]]) -> dict[str, float]:
    """Compute all rows in micro-batches; the loss is the mean over all trained tokens."""
    # TRL's dataset preparation applies the completion mask like this; its collator has only labels.
    rows = [
        {"input_ids": ids, "labels": [x if one else -100 for x, one in zip(ids, mask, strict=True)]}
        for ids, mask in zip(given["ids"], given["trained"], strict=True)
    ]
    count = trainer.args.per_device_train_batch_size
    seconds, losses, tokens = 0.0, 0.0, 0
    for start in range(0, len(rows), count):
        micro_batch = rows[start : start + count]
        batch = trainer.data_collator(micro_batch)
        begin = time.perf_counter()
        loss = trainer.training_step(trainer.model_wrapped, batch)
        seconds += time.perf_counter() - begin
        trained = sum(label != -100 for row in micro_batch for label in row["labels"][1:])
        losses, tokens = losses + float(loss) * trained, tokens + trained
    trainer.model.zero_grad(set_to_none=True)
    return {"seconds": seconds, "loss": losses / tokens, "peak_rss_bytes": peak_rss_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--variant", required=True, choices=sorted(VARIANTS))
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    answers, sys.stdout = sys.stdout, sys.stderr
    trainer = trainer_of(arguments.model, arguments.variant, bf16=arguments.bf16)
    # What `torch_compile` does when a whole training starts.
    compiled = arguments.variant == "best-compiled"
    trainer.model_wrapped = torch.compile(trainer.model) if compiled else trainer.model
    trainer.current_gradient_accumulation_steps = 1
    trainer.create_optimizer()
    trainer.model.train()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(step(trainer, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
