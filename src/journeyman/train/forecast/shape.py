"""A model's sizes from its config alone, counted on a module that takes no memory.

Covered: every causal architecture of transformers. If its layers differ, they are counted by their
mean.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from journeyman.settings import TrainSettings

if TYPE_CHECKING:
    import torch

_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


class ModelShape(Struct, frozen=True):
    """Sizes of a model. linears: (name, inputs, outputs) of every linear layer but the head."""

    parameters: int
    layers: int
    layer_parameters: int
    hidden: int
    vocabulary: int
    attention_width: int
    widest: int
    tied: bool
    linears: tuple[tuple[str, int, int], ...]

    @property
    def head_parameters(self) -> int:
        """Parameters of the output layer, which is also the embedding if the two are tied."""
        return self.vocabulary * self.hidden

    def adapter_parameters(self, settings: TrainSettings) -> int:
        """Parameters of a LoRA adapter: rank * (inputs + outputs) for each layer that has one."""
        targets = settings.lora_targets
        return sum(
            settings.lora_r * (inputs + outputs)
            for name, inputs, outputs in self.linears
            if name in targets
        )


def shape_of(config: Any, targets: Sequence[str] = ()) -> ModelShape:
    """The shape of a config. Raises UsageError if a target is not a linear layer of the model."""
    model = empty_model(config)
    if targets:
        from journeyman.train.engine.hf import require_targets

        require_targets(model, targets)
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    layers = int(config.num_hidden_layers)
    linears = _linears(model, head)
    heads = int(config.num_attention_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=layers,
        layer_parameters=sum(width * out for _, width, out in linears) // layers,
        hidden=int(config.hidden_size),
        vocabulary=int(head.weight.shape[0]),
        attention_width=heads * int(width),
        widest=max(out for _, _, out in linears),
        tied=head.weight is embedding.weight,
        linears=tuple(linears),
    )


def _linears(model: "torch.nn.Module", head: object) -> list[tuple[str, int, int]]:
    import torch

    return [
        (name.rsplit(".", 1)[-1], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]


def empty_model(config: Any) -> "torch.nn.Module":
    """The module of a config on torch's `meta` device, which has shapes and no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.tie_weights()  # type: ignore[operator]
    return model


def cut_down(config: Any, *, layers: int, vocabulary: int) -> Any:
    """The config with fewer layers and a smaller vocabulary."""
    small = copy.deepcopy(config)
    small.num_hidden_layers = layers
    small.vocab_size = vocabulary
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:layers]
    for name in _TOKEN_IDS:
        # An embedding refuses a padding id beyond its rows.
        setattr(small, name, None)
    return small
