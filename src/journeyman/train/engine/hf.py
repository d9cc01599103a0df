"""The engine for every architecture: AutoModelForCausalLM with PEFT's LoRA.

Tests compare the fast engine with this one. Rows of a micro-batch are padded on the right to the
longest. Causal attention never sees what is to the right, so it needs no mask and takes SDPA's fast
path; padding is never trained.
Not covered: models whose attention is not causal; adapters on the embedding or the output layer.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from journeyman.errors import UsageError
from journeyman.events import Note, Reporter, ignore
from journeyman.kernels.elementwise import ElementwiseKernel
from journeyman.model.base import load_causal_model
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.interface import Tally
from journeyman.train.engine.loss import PlainHead, completion_loss

_PROBE_TOKENS = 8
# A soft cap of 30 changes a small logit by only one part in ten thousand.
_TOLERANCE = 1e-5


class HfEngine:
    """A Hugging Face model with a LoRA adapter; implements `TrainingEngine`."""

    def __init__(
        self,
        base: BaseModel | torch.nn.Module,
        settings: TrainSettings,
        *,
        dtype: torch.dtype,
        kernel: ElementwiseKernel | None = None,
        report: Reporter = ignore,
    ) -> None:
        """base: a model on the disk, or one in memory (a forecast uses random weights).

        kernel: computes the loss instead of torch.
        """
        from peft import get_peft_model_state_dict

        causal: Any = base if isinstance(base, torch.nn.Module) else load_causal_model(base, dtype)
        require_targets(causal, settings.lora_targets)
        self._model = _with_adapter(causal, settings)
        self._causal = causal
        self._decoder = causal.base_model
        self._head = causal.get_output_embeddings()
        self._parameters = _named(self._model, get_peft_model_state_dict)
        self._model.eval()
        self._kernel = kernel
        self._plain_head = self._head_is_plain()
        if not self._plain_head:
            report(
                Note(
                    f"whole logits are computed, which takes more time and memory: "
                    f"`{type(causal).__name__}` changes what its output layer gives"
                )
            )

    def enable_gradient_checkpointing(self) -> None:
        """From now on recompute activations in the backward pass."""
        self._causal.activation_checkpointing_enable({"use_reentrant": False})

    def parameters(self) -> Mapping[str, Tensor]:
        """The adapter's tensors by PEFT's file names."""
        return self._parameters

    def backward(self, rows: Sequence[TokenRow], *, weight: float, seed: int) -> Tally:
        """Add the gradient of `weight` times the summed loss; `seed` decides the dropout."""
        batch = _Batch(rows)
        self._model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = self._selected(batch)
            if self._plain_head:
                loss_sum, gradient = self._chunked_loss(hidden, batch, with_gradient=True)
                torch.autograd.backward(hidden, gradient.mul_(weight))
            else:
                loss = _whole_loss(hidden, batch)
                torch.autograd.backward(loss * weight)
                loss_sum = float(loss.detach())
        return batch.tally(loss_sum)

    def loss(self, rows: Sequence[TokenRow]) -> Tally:
        """The summed loss without dropout."""
        batch = _Batch(rows)
        self._model.eval()
        with torch.inference_mode():
            hidden = self._selected(batch)
            if not self._plain_head:
                return batch.tally(float(_whole_loss(hidden, batch)))
            return batch.tally(self._chunked_loss(hidden, batch, with_gradient=False)[0])

    def _selected(self, batch: "_Batch") -> Tensor:
        """(N, H) hidden states that predict each trained token; logits without a plain head."""
        if self._plain_head:
            states = self._decoder(input_ids=batch.ids, use_cache=False).last_hidden_state
        else:
            states = self._causal(input_ids=batch.ids, use_cache=False).logits
        flat: Tensor = states.flatten(0, 1)
        return flat.index_select(0, batch.positions)

    def _chunked_loss(
        self, hidden: Tensor, batch: "_Batch", *, with_gradient: bool
    ) -> tuple[float, Tensor]:
        head = PlainHead(self._head.weight, self._head.bias)
        return completion_loss(
            hidden.detach(),
            batch.targets,
            head,
            with_gradient=with_gradient,
            kernel=self._kernel,
        )

    def _head_is_plain(self) -> bool:
        """Whether logits are just the output layer applied to the last hidden state.

        Some families scale or cap them (Gemma 2, Cohere, Granite), so this is tried out.
        """
        if self._head is None or self._decoder is self._causal:
            return False
        ids = torch.arange(_PROBE_TOKENS).remainder(self._head.weight.shape[0]).unsqueeze(0)
        with torch.inference_mode():
            logits = self._causal(input_ids=ids, use_cache=False).logits
            hidden = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
            plain = self._head(hidden)
        is_plain: bool = torch.allclose(
            logits.float(), plain.float(), rtol=_TOLERANCE, atol=_TOLERANCE / 10, equal_nan=True
        )
        return is_plain


class _Batch:
    """Rows as tensors. ids: (B, T) int64, padded on the right with 0.

    positions: (N,), the tokens before each trained one, as indices into B*T. targets: (N,).
    """

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        longest = max(len(row.ids) for row in rows)
        self.ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        positions: list[int] = []
        targets: list[int] = []
        for number, row in enumerate(rows):
            self.ids[number, : len(row.ids)] = torch.tensor(row.ids)
            trained = [at for at in range(1, len(row.ids)) if row.trained[at]]
            positions += [number * longest + at - 1 for at in trained]
            targets += [row.ids[at] for at in trained]
        self.positions = torch.tensor(positions)
        self.targets = torch.tensor(targets)
        self._real_tokens = sum(len(row.ids) for row in rows)

    def tally(self, loss_sum: float) -> Tally:
        """The tally of this micro-batch."""
        return Tally(loss_sum, len(self.targets), self._real_tokens, self.ids.numel())


def _whole_loss(logits: Tensor, batch: _Batch) -> Tensor:
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


def _with_adapter(causal: Any, settings: TrainSettings) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets),
        task_type=TaskType.CAUSAL_LM,
    )
    # PEFT draws start values from the global generator; `initialise` overwrites them.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # About an attribute of transformers that PEFT reads; a user can do nothing about it.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(causal, config)


def _named(model: Any, state_dict_of: Any) -> dict[str, Tensor]:
    """The trainable parameters by the names that PEFT gives them in its files."""
    by_address = {
        parameter.data_ptr(): parameter
        for parameter in model.parameters()
        if parameter.requires_grad
    }
    saved: dict[str, Tensor] = state_dict_of(model, save_embedding_layers=False)
    return {name: by_address[tensor.data_ptr()] for name, tensor in sorted(saved.items())}


def require_targets(causal: torch.nn.Module, targets: Sequence[str]) -> None:
    """Refuse targets that the model or a GGUF adapter does not have. Raises UsageError."""
    head = causal.get_output_embeddings()  # type: ignore[operator]
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in causal.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    unknown = [name for name in targets if name not in linear]
    if unknown or not targets:
        raise UsageError(
            f"cannot adapt {', '.join(f'`{name}`' for name in unknown) or 'nothing'} of "
            f"`{type(causal).__name__}`",
            hint=f"its linear layers are {', '.join(sorted(linear))}; the output layer and the "
            "embedding are not adapted, because llama.cpp cannot read such an adapter",
        )
