"""One settings record per stage: the only place that states a flag's default and its help text.

The command line, `--help`, `journeyman.toml` and docs/commands.md are made from these fields.
Paths are relative to the working directory, as in the user's README.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

BASE = "Qwen/Qwen2.5-Coder-7B-Instruct"
DATA_FOLDER = Path("training/data")
ADAPTER_FOLDER = Path("training/models/qwen2.5-coder-7b-lora")
EFFECTIVE_BATCH = 16
SEED = 42

Policy = Literal["seed", "salvage", "strict"]
Prompts = Literal["role", "logged"]
SplitBy = Literal["prompt", "conversation", "repository", "time"]
Preset = Literal["given", "recommended"]
Precision = Literal["auto", "fp32", "bf16", "int8", "mixed"]
Engine = Literal["auto", "fast", "hf"]
Device = Literal["auto", "cpu", "cuda"]
SandboxProfile = Literal["strict", "degraded", "none"]


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Turn a log of interactions into train.jsonl, val.jsonl, test.jsonl and metadata.json."""

    input: Path | None = None
    """Log to read. Default: the newest data/training/interactions_*.jsonl."""
    output_dir: Path = DATA_FOLDER
    """Folder for the splits and metadata.json."""
    policy: Policy = "salvage"
    """Which rows to train on: every success (seed), complete and cut-off answers (salvage), or complete answers only (strict)."""
    rule: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Override the policy for one rule, as RULE=drop, mask, keep or fail. Can be repeated. See docs/doctor.md."""
    prompts: Prompts = "role"
    """System prompt: this project's text for the agent's role (role), or the logged one (logged)."""
    base: str = BASE
    """Base model whose chat template renders the rows."""
    train_share: float = 0.8
    """Share of the rows in the training split, 0..1."""
    val_share: float = 0.1
    """Share of the rows in the validation split, 0..1. The rest is the test split."""
    split_by: SplitBy = "prompt"
    """Near-duplicate prompts and conversations always stay in one split; repository also keeps each repository together, time tests on the newest rows."""
    seed: int = SEED
    """Random seed of the split."""
    max_tokens: int = 2048
    """Longest row in tokens. Longer rows are listed, never truncated."""
    max_bad_lines: int = 0
    """Broken rows to tolerate; with more, nothing is written. A half-written last line does not count."""
    detect_secrets: bool = False
    """Also search for secrets with the detect-secrets package: `pip install 'journeyman[secrets]'`."""


@dataclass(frozen=True, kw_only=True)
class DoctorSettings:
    """Report what is wrong with a log and what would happen to each row, without writing a dataset."""

    report: Path | None = None
    """Also write the full report to this file (.json or .html)."""
    policy: Policy = "salvage"
    """Policy whose decisions are shown; see `journeyman prepare`."""
    rule: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Override the policy for one rule, as RULE=drop, mask, keep or fail. Can be repeated. See docs/doctor.md."""
    prompts: Prompts = "role"
    """System prompt: this project's text for the agent's role (role), or the logged one (logged)."""
    base: str = BASE
    """Base model whose tokenizer counts the tokens, if it is on this machine."""
    max_tokens: int = 2048
    """Longest row in tokens. Longer rows are listed, never truncated."""
    detect_secrets: bool = False
    """Also search for secrets with the detect-secrets package: `pip install 'journeyman[secrets]'`."""


@dataclass(frozen=True, kw_only=True)
class CollectPythonSettings:
    """Collect documented functions of installed Python packages, with doctest checks."""

    output: Annotated[Path, Parameter(alias="-o")] = Path("data/training/interactions_python.jsonl")
    """File to write."""
    show_examples: bool = False
    """Show all doctest examples except the last in the prompt; the check uses only hidden ones."""
    longest_answer: int = 6000
    """Longest answer in characters. Longer functions are left out."""
    verify: bool = True
    """Keep only functions whose source passes its own check in the sandbox."""


@dataclass(frozen=True, kw_only=True)
class CollectLogSettings:
    """Collect interactions from logs of other programs."""

    output: Annotated[Path, Parameter(alias="-o")] = Path(
        "data/training/interactions_collected.jsonl"
    )
    """File to write."""
    format: str | None = None
    """Format of the files; see `journeyman collect formats`. Default: detected for each file."""
    agent: str = "coder"
    """Agent role of rows that do not name one."""
    max_bad_lines: int = 0
    """Broken rows to tolerate; with more, nothing is written."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Train a LoRA adapter for a base model on a dataset."""

    base: str = BASE
    """Base model: hub id, local folder, GGUF file, or smollm2-135m."""
    data_dir: Path = DATA_FOLDER
    """Folder with train.jsonl, val.jsonl and metadata.json."""
    output_dir: Path = ADAPTER_FOLDER
    """Folder for checkpoints, final_model, logs and training_config.json."""
    epochs: float = 3.0
    """Passes over the training set."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, even if epochs are left."""
    batch_size: int = 2
    """Rows in a micro-batch. Fewer need less memory."""
    accumulation: int | None = None
    """Gradient accumulation: micro-batches in an optimiser step. Default: as many as make 16 rows."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Weight decay of AdamW (decoupled)."""
    warmup_share: float = 0.1
    """Share of the steps for learning-rate warm-up, 0..1."""
    max_grad_norm: float = 1.0
    """Gradient clipping: largest norm of the gradient."""
    max_tokens: int = 2048
    """Longest row in tokens. Longer rows are listed and left out, never truncated."""
    lora_r: int = 8
    """LoRA rank."""
    lora_alpha: int = 32
    """LoRA scale: the adapter's output is multiplied by alpha / r."""
    lora_dropout: float = 0.1
    """Dropout on the adapter's input, 0..1."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Linear layers that get an adapter."""
    save_steps: int = 1
    """Optimiser steps between checkpoints."""
    keep_checkpoints: int = 2
    """Verified checkpoints to keep on disk."""
    eval_steps: int | None = None
    """Optimiser steps between validations. Default: one validation per epoch."""
    resume: Path | None = None
    """Checkpoint folder to resume from. An interrupted run in output_dir is resumed without it."""
    fresh: bool = False
    """Start over: move the earlier run in output_dir aside."""
    accept_change: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Resume although this setting (lr, epochs, ...) differs from the checkpoint's; the change is recorded. Can be repeated."""
    fit: bool = False
    """When out of memory (OOM), continue with smaller micro-batches, then with gradient checkpointing. Each step keeps its rows."""
    precision: Precision = "auto"
    """Precision of the frozen layers. mixed (mixed precision) is bf16 forward and int8 backward; auto takes the fastest that is accurate enough on this machine."""
    calibrate: bool = True
    """fast engine, int8: calibrate on some training rows before training: smooth activations, and keep layers in full precision if INT8 changes the loss too much."""
    engine: Engine = "auto"
    """Training engine: fast for the Llama family, hf (transformers and PEFT) for every architecture; auto takes fast if it supports the model."""
    device: Device = "cpu"
    """fast engine: cpu, or cuda (experimental, never run on a GPU yet): one GPU in BF16, needs torch's CUDA build. auto takes a GPU if there is one."""
    memory_gib: float | None = None
    """fast engine: memory limit in GiB; gradient checkpointing (recompute activations in the backward pass) keeps the run below it. Default: five sixths of the machine's memory."""
    micro_batch_tokens: int = 2048
    """fast engine: tokens in a micro-batch (sequence packing: whole rows without padding). Fewer need less memory. A step always has batch_size x accumulation rows."""
    compiled: bool | None = None
    """fast engine: compile the elementwise operations (torch.compile). Default: only if the run is long enough to gain time."""
    threads: int | None = None
    """CPU threads of each process. Default: one per core."""
    processes: int | Literal["auto"] = 1
    """Data parallel: processes on this machine that share each step. auto starts one per NUMA node (socket)."""
    seed: int = SEED
    """Random seed of the adapter, the row order and the dropout."""


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Merge an adapter into its base model, quantise it to GGUF and check the result."""

    model: Path = ADAPTER_FOLDER / "final_model"
    """Adapter folder."""
    output: Path = Path("models/qwen2.5-coder-7b-lora.gguf")
    """GGUF file to write. The F16 file is written beside it as NAME.f16.gguf."""
    base: str | None = None
    """Base model. Default: the one that the adapter names."""
    quantize: str = "Q4_K_M"
    """Quantisation type of the output, or none to write only F16."""
    data_dir: Path = DATA_FOLDER
    """Folder with val.jsonl, whose prompts the parity check uses."""
    parity_prompts: int = 5
    """Prompts of the parity check: adapter and F16 GGUF must give the same greedy tokens."""
    parity_tokens: int = 32
    """Tokens that the parity check compares per prompt."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Compare base and tuned model on the held-out split: quality, latency and memory."""

    model: Path = ADAPTER_FOLDER / "final_model"
    """Tuned model: adapter folder or GGUF file."""
    test_data: Path = DATA_FOLDER / "test.jsonl"
    """Held-out rows."""
    output: Path = Path("results/lora_evaluation.json")
    """Result file (JSON)."""
    base: str | None = None
    """Model to compare with: base model or GGUF file. Default: the adapter's base model."""
    limit: int | None = None
    """Evaluate only the first N held-out rows."""
    max_tokens: int = 512
    """Longest answer in tokens, for both models."""
    threads: int | None = None
    """CPU threads. Default: one per core."""
    warm_tasks: int = 10
    """Tasks to ask again, twice each, to measure warm latency (the prompts' shared prefix is cached)."""
    suites: str | None = None
    """Comma-separated suites: held-out, humaneval, probes, likelihood, quantisation. Default: held-out, and for a GGUF also probes and likelihood."""
    limit_humaneval: int | None = None
    """Ask only N of HumanEval's 164 tasks, drawn at random with the seed."""
    rescore: bool = False
    """Score the answers in the result file again, without asking a model."""
    sandbox: SandboxProfile = "strict"
    """Sandbox for generated code: strict, degraded (no namespaces; the verdict is never DEPLOY) or none (code is not run). There is no fallback to another profile. See docs/sandbox.md."""
    seed: int = SEED
    """Random seed of the order in which tasks are asked."""
    exit_code: Literal["verdict", "zero"] = "verdict"
    """Exit code of a finished evaluation: the verdict (0 DEPLOY, 10 ITERATE, 11 ABORT, 12 INVALID), or always 0 (zero)."""


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """Recompute every number of an evaluation from its report."""

    model: Path | None = None
    """Model file to ship; must be the one that was measured. Default: the path in the report."""


@dataclass(frozen=True, kw_only=True)
class SelfTestSettings:
    """Attack the sandbox and report whether it holds."""

    profile: Literal["strict", "degraded"] = "strict"
    """Sandbox profile to test: strict (with namespaces) or degraded (without)."""
    short: bool = False
    """Run only the 16 attacks that precede each evaluation. Default: all of them, about a minute."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Run all stages in order, except those whose inputs have not changed."""

    input: Path
    """Log of interactions to start from."""
    folder: Path = Path("runs/first")
    """Folder for everything that the run writes."""
    base: str = BASE
    """Base model: hub id, local folder, GGUF file, or smollm2-135m."""
    policy: Policy = "salvage"
    """Which rows to train on; see `journeyman prepare`."""
    preset: Preset = "recommended"
    """Training defaults: the README's (given), or the recommended ones; see docs/training.md."""
    epochs: float = 3.0
    """Passes over the training set."""
    max_steps: int | None = None
    """Stop training after this many optimiser steps, even if epochs are left."""
    limit: int | None = None
    """Evaluate only the first N held-out rows."""
    max_tokens: int = 512
    """Longest answer in tokens, for both models."""
    seed: int = SEED
    """Random seed of every stage."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Run all stages on a small built-in model and functions of installed packages, in minutes."""

    folder: Path = Path("demo")
    """Folder for everything that the demo writes."""
    longest_answer: int = 500
    """Longest answer to learn, in characters. Short functions keep the demo to minutes."""
    epochs: float = 1.0
    """Passes over the training set."""
    max_tokens: int = 256
    """Longest answer in tokens, for both models."""
    seed: int = SEED
    """Random seed of every stage."""
