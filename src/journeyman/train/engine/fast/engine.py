"""The fast engine: from rows to a summed loss and the adapter's gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from journeyman.errors import UsageError
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.fast.decoder import Decoder, DecoderPlan
from journeyman.train.engine.fast.lora import Dropout, leaf_name
from journeyman.train.engine.fast.packing import Pack, pack
from journeyman.train.engine.fast.shape import (
    ATTENTION_TARGETS,
    MLP_TARGETS,
    DecoderShape,
    shape_of,
)
from journeyman.train.engine.fast.weights import WeightSource
from journeyman.train.engine.interface import Tally


class FastEngine:
    """A model of the Llama family with a LoRA adapter; implements `TrainingEngine`."""

    def __init__(
        self, config: Any, source: WeightSource, settings: TrainSettings, *, plan: DecoderPlan
    ) -> None:
        shape = shape_of(config)
        require_targets(settings.lora_targets)
        self._dropout = settings.lora_dropout
        self._device = plan.device
        self._parameters = adapter_leaves(shape, settings, plan.device)
        scaling = settings.lora_alpha / settings.lora_r
        with torch.no_grad():
            self._decoder = Decoder(
                config, shape, source, self._parameters, plan=plan, scaling=scaling
            )

    def parameters(self) -> Mapping[str, Tensor]:
        """The adapter's tensors by PEFT's file names."""
        return self._parameters

    def backward(self, rows: Sequence[TokenRow], *, weight: float, seed: int) -> Tally:
        """Add the gradient of `weight` times the summed loss; `seed` decides the dropout."""
        packed = pack(rows, device=self._device)
        dropout = Dropout(self._dropout, seed) if self._dropout else None
        with torch.no_grad():
            loss = self._decoder.backward(packed, weight=weight, dropout=dropout)
        return _tally(packed, loss)

    def loss(self, rows: Sequence[TokenRow]) -> Tally:
        """The summed loss without dropout."""
        packed = pack(rows, device=self._device)
        with torch.inference_mode():
            return _tally(packed, self._decoder.loss(packed))

    def enable_gradient_checkpointing(self) -> None:
        """From now on recompute activations in the backward pass."""
        self._decoder.enable_gradient_checkpointing()

    def stored_bytes(self) -> int:
        """Memory of the frozen weights."""
        return self._decoder.stored_bytes()


def adapter_leaves(
    shape: DecoderShape, settings: TrainSettings, device: torch.device
) -> dict[str, Tensor]:
    """Zeroed parameters for every target of every layer, by PEFT's names and in their order."""
    sizes = shape.target_sizes
    leaves = {}
    for number in range(shape.layers):
        for target in settings.lora_targets:
            part = "self_attn" if target in ATTENTION_TARGETS else "mlp"
            module = f"model.layers.{number}.{part}"
            outputs, inputs = sizes[target]
            for letter, size in (
                ("A", (settings.lora_r, inputs)),
                ("B", (outputs, settings.lora_r)),
            ):
                leaves[leaf_name(module, target, letter)] = torch.zeros(size, device=device)
    return {name: leaves[name].requires_grad_() for name in sorted(leaves)}


def require_targets(targets: Sequence[str]) -> None:
    """Refuse targets that these models do not have. Raises UsageError."""
    known = (*ATTENTION_TARGETS, *MLP_TARGETS)
    unknown = [name for name in targets if name not in known]
    if unknown or not targets:
        raise UsageError(
            f"cannot adapt {', '.join(f'`{name}`' for name in unknown) or 'nothing'}",
            hint=f"the linear layers are {', '.join(known)}; the output layer and the embedding "
            "are not adapted, because llama.cpp cannot read such an adapter",
        )


def _tally(packed: Pack, loss: float) -> Tally:
    return Tally(loss, len(packed.targets), packed.real_tokens, packed.computed_tokens)
