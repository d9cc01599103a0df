"""One settings record a stage: each default and its help stand here and nowhere else.

The command line, `--help`, the TOML file and the docs are made from these fields.
Paths are relative to the folder that the command is started in, as in the user's README.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

BASE = "Qwen/Qwen2.5-Coder-7B-Instruct"
DATA_FOLDER = Path("training/data")
ADAPTER_FOLDER = Path("training/models/qwen2.5-coder-7b-lora")
LORA_CONFIG = Path("training/configs/lora_config.json")
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
    """From logged interactions to train.jsonl, val.jsonl, test.jsonl and metadata.json."""

    input: Path | None = None
    """Log to read; by default the newest data/training/interactions_*.jsonl."""
    output_dir: Path = DATA_FOLDER
    """Folder for the splits and metadata.json."""
    policy: Policy = "salvage"
    """Which rows are kept: every success (seed), complete and cut-off answers (salvage), complete only (strict)."""
    rule: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """What to do with one finding, as ID=drop, mask, keep or fail; may be given again. See docs/doctor.md."""
    prompts: Prompts = "role"
    """System prompt: this project's text for the agent's role, or the one that was logged."""
    base: str = BASE
    """Base model whose chat template renders the text."""
    train_share: float = 0.8
    """Share of the rows for training, 0..1."""
    val_share: float = 0.1
    """Share of the rows for validation, 0..1; the rest is the test split."""
    split_by: SplitBy = "prompt"
    """What stays in one split: near-equal prompts and conversations, also repositories; by time, the last rows are the test."""
    seed: int = SEED
    """Seed of the split."""
    max_tokens: int = 2048
    """Rows that are longer in tokens are listed; they are never cut."""
    max_bad_lines: int = 0
    """Lines of the log that may be unusable and are left out; a torn last line never counts."""
    detect_secrets: bool = False
    """Search secrets with the program detect-secrets, too: `pip install 'journeyman[secrets]'`."""


@dataclass(frozen=True, kw_only=True)
class DoctorSettings:
    """What is wrong with a log, and what would become of each row; nothing is written."""

    report: Path | None = None
    """File for the whole report: .json or .html."""
    policy: Policy = "salvage"
    """The policy whose decisions are shown."""
    rule: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """What to do with one finding, as ID=drop, mask, keep or fail; may be given again."""
    prompts: Prompts = "role"
    """System prompt that training would use: this project's, or the one that was logged."""
    base: str = BASE
    """Base model whose tokens are counted for over-long rows, where its tokenizer is here."""
    max_tokens: int = 2048
    """Rows that are longer in tokens are listed."""
    detect_secrets: bool = False
    """Search secrets with the program detect-secrets, too: `pip install 'journeyman[secrets]'`."""


@dataclass(frozen=True, kw_only=True)
class CollectPythonSettings:
    """From documented functions of installed packages to interactions with doctest checks."""

    output: Annotated[Path, Parameter(alias="-o")] = Path("data/training/interactions_python.jsonl")
    """File to write."""
    show_examples: bool = False
    """Show all doctest examples but the last in the prompt; the check uses those not shown."""
    longest_answer: int = 6000
    """Longest answer in characters; a function with a longer one is left out."""
    verify: bool = True
    """Keep only functions whose own source passes its check in the sandbox."""


@dataclass(frozen=True, kw_only=True)
class CollectLogSettings:
    """From logs of other programs to interactions in this project's format."""

    output: Annotated[Path, Parameter(alias="-o")] = Path(
        "data/training/interactions_collected.jsonl"
    )
    """File to write."""
    format: str | None = None
    """Format of the files, see `journeyman collect formats`; by default each is recognised."""
    agent: str = "coder"
    """Agent role of the rows whose log names none."""
    max_bad_lines: int = 0
    """How many broken rows are tolerated; more, and nothing is written."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """From a dataset and a base model to a LoRA adapter."""

    base: str = BASE
    """Base model: hub id, local folder, GGUF file, or smollm2-135m."""
    data_dir: Path = DATA_FOLDER
    """Folder with train.jsonl, val.jsonl and metadata.json."""
    output_dir: Path = ADAPTER_FOLDER
    """Folder for checkpoints, final_model, logs and training_config.json."""
    epochs: float = 3.0
    """How often every row is seen."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, whatever the epochs."""
    batch_size: int = 2
    """Rows in a micro-batch: less needs less memory."""
    accumulation: int | None = None
    """Micro-batches in an optimiser step; by default as many as make 16 rows."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises, 0..1."""
    max_grad_norm: float = 1.0
    """Norm to which the gradient is clipped."""
    max_tokens: int = 2048
    """Longest row in tokens; a longer one is listed and left out, never cut."""
    lora_r: int = 8
    """Rank of the adapter."""
    lora_alpha: int = 32
    """Scale of the adapter: the update counts alpha / r times."""
    lora_dropout: float = 0.1
    """Dropout before the adapter, 0..1."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Linear layers that get an adapter."""
    save_steps: int = 1
    """Optimiser steps between checkpoints."""
    keep_checkpoints: int = 2
    """How many verified checkpoints stay on the disk."""
    eval_steps: int | None = None
    """Optimiser steps between validations; by default once an epoch."""
    resume: Path | None = None
    """Checkpoint folder to go on from; an interrupted run in output_dir is found without it."""
    fresh: bool = False
    """Move what an earlier run left in output_dir aside and start over."""
    accept_change: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Go on although this field differs from the checkpoint's (lr, epochs, ...); it is recorded. May be given again."""
    fit: bool = False
    """Where memory does not suffice, go on with smaller micro-batches; each step keeps its rows."""
    precision: Precision = "auto"
    """Arithmetic of the frozen products; mixed is bf16 forward and int8 backward, auto the quickest that is exact enough here."""
    calibrate: bool = True
    """fast engine, int8: let some rows of the training set show what its products lose, smooth them, and keep those wide that lose too much."""
    engine: Engine = "auto"
    """Who computes: fast for the Llama family, hf for every architecture; auto takes fast where it can."""
    device: Device = "cpu"
    """fast engine: where it computes; cuda is one GPU, by torch's CUDA build, in BF16. auto takes it where there is one."""
    memory_gib: float | None = None
    """fast engine: the most memory that the run may take, in GiB; layers run twice to keep to it. By default five sixths of what the machine has."""
    micro_batch_tokens: int = 2048
    """fast engine: tokens of a micro-batch, in whole rows; less needs less memory. batch_size x accumulation rows make a step either way."""
    compiled: bool | None = None
    """fast engine: compile the loops between the products; by default where a run is long enough to gain by it."""
    threads: int | None = None
    """Processor threads, of each process; by default one for each core."""
    processes: int | Literal["auto"] = 1
    """Processes that share each step on this machine; auto is one for each NUMA node (socket)."""
    seed: int = SEED
    """Seed of the adapter, the order of the rows and the dropout."""


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """From an adapter to a merged, checked and quantised GGUF."""

    model: Path = ADAPTER_FOLDER / "final_model"
    """Adapter folder."""
    output: Path = Path("models/qwen2.5-coder-7b-lora.gguf")
    """GGUF file to write; the F16 file stands beside it as NAME.f16.gguf."""
    base: str | None = None
    """Base model; by default the one that the adapter names."""
    quantize: str = "Q4_K_M"
    """Quantisation of the output, or none for F16 alone."""
    data_dir: Path = DATA_FOLDER
    """Folder whose val.jsonl gives the prompts of the parity check."""
    parity_prompts: int = 5
    """Prompts that must give the same greedy tokens from the adapter and from the F16 GGUF."""
    parity_tokens: int = 32
    """Tokens compared for each prompt."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Base and tuned model on the held-out split: what they can do, how fast, in how much memory."""

    model: Path = ADAPTER_FOLDER / "final_model"
    """The tuned model: an adapter folder or a GGUF file."""
    test_data: Path = DATA_FOLDER / "test.jsonl"
    """Held-out rows."""
    output: Path = Path("results/lora_evaluation.json")
    """Result file (JSON)."""
    base: str | None = None
    """The model to compare with: a base model's name or a GGUF file; by default the adapter's base."""
    limit: int | None = None
    """Evaluate the first N rows only."""
    max_tokens: int = 512
    """Longest answer in tokens, the same for both models."""
    threads: int | None = None
    """Processor threads; by default one for each core."""
    warm_tasks: int = 10
    """Tasks that are asked again, twice each, to time requests whose shared start is read already."""
    suites: str | None = None
    """What to measure, with commas: held-out, humaneval, probes, likelihood, quantisation. By default held-out, and for a GGUF probes and likelihood."""
    limit_humaneval: int | None = None
    """Ask N of HumanEval's 164 tasks, drawn by seed."""
    rescore: bool = False
    """Score the answers that the result file holds again, without asking a model."""
    sandbox: SandboxProfile = "strict"
    """How generated code is shut in: strict, degraded (no namespaces; marked in the result, nothing is deployed on it) or none (it is not run). Never another one than named; see docs/sandbox.md."""
    seed: int = SEED
    """Seed of the sampling order."""
    exit_code: Literal["verdict", "zero"] = "verdict"
    """How a finished evaluation ends: 0 DEPLOY, 10 ITERATE, 11 ABORT, 12 INVALID; or always 0."""


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """Every number of an evaluation made again from what its report stores."""

    model: Path | None = None
    """The file to be shipped: it must be the one that was measured; by default where it lay."""


@dataclass(frozen=True, kw_only=True)
class SelfTestSettings:
    """Every attack that the sandbox must hold against."""

    profile: Literal["strict", "degraded"] = "strict"
    """The sandbox to test: with namespaces, or without."""
    short: bool = False
    """A few attacks of each kind, as before each evaluation; else all, in about a minute."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """All stages in order; those whose inputs have not changed are skipped."""

    input: Path
    """Log to start from."""
    folder: Path = Path("runs/first")
    """Folder for everything that the run makes."""
    base: str = BASE
    """Base model: hub id, local folder, GGUF file, or smollm2-135m."""
    policy: Policy = "salvage"
    """Which rows are kept; see `journeyman prepare`."""
    preset: Preset = "recommended"
    """Training defaults as given, or those that the evidence recommends."""
    epochs: float = 3.0
    """How often every row is seen."""
    max_steps: int | None = None
    """Stop training after this many optimiser steps."""
    limit: int | None = None
    """Evaluate the first N held-out rows only."""
    max_tokens: int = 512
    """Longest answer in tokens."""
    seed: int = SEED
    """Seed of everything."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The whole run on an embedded model and on functions of installed packages, in minutes."""

    folder: Path = Path("demo")
    """Folder for everything that the demo makes."""
    longest_answer: int = 500
    """Longest answer to learn, in characters; the short functions make a slice of minutes."""
    epochs: float = 1.0
    """How often every row is seen."""
    max_tokens: int = 256
    """Longest answer in tokens when base and tuned are compared."""
    seed: int = SEED
    """Seed of everything."""
