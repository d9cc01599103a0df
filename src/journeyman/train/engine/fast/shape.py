"""The sizes of a model of the Llama family, and which models the fast engine supports."""

from typing import Any, Literal

from msgspec import Struct

ProductGroup = Literal["query_key_value", "output", "gate_up", "down", "head"]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
# Their frequencies depend on the length of the row, so each packed row would need its own table.
_UNEVEN_ROPE = ("dynamic", "longrope")
ATTENTION_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP_TARGETS = ("gate_proj", "up_proj", "down_proj")
GROUPS: tuple[ProductGroup, ...] = ("query_key_value", "output", "gate_up", "down")
"""The frozen linear layers of a decoder layer; those with the same input are one product."""
HEAD: ProductGroup = "head"
"""The output layer."""


class DecoderShape(Struct, frozen=True):
    """Sizes of a decoder of the Llama family; hidden: values a token between layers."""

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    groups: int
    head_size: int
    vocabulary: int
    norm_epsilon: float
    tied: bool

    @property
    def query_size(self) -> int:
        """Values of a token in all query heads."""
        return self.heads * self.head_size

    @property
    def key_size(self) -> int:
        """Values of a token in all key heads, and the same in all value heads."""
        return self.groups * self.head_size

    @property
    def target_sizes(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of each linear layer that an adapter can be on."""
        return {
            "q_proj": (self.query_size, self.hidden),
            "k_proj": (self.key_size, self.hidden),
            "v_proj": (self.key_size, self.hidden),
            "o_proj": (self.hidden, self.query_size),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
        }

    @property
    def product_sizes(self) -> dict[ProductGroup, tuple[int, int]]:
        """(inputs, outputs) of the product of each group, and of the output layer."""
        return {
            "query_key_value": (self.hidden, self.query_size + 2 * self.key_size),
            "output": (self.query_size, self.hidden),
            "gate_up": (self.hidden, 2 * self.intermediate),
            "down": (self.intermediate, self.hidden),
            HEAD: (self.hidden, self.vocabulary),
        }

    @property
    def group_parameters(self) -> dict[ProductGroup, int]:
        """Frozen weights of each group in the whole model."""
        return {
            group: inputs * outputs * (1 if group == HEAD else self.layers)
            for group, (inputs, outputs) in self.product_sizes.items()
        }

    @property
    def layer_parameters(self) -> int:
        """Frozen weights of the linear layers of one decoder layer."""
        sizes = self.product_sizes
        return sum(inputs * outputs for inputs, outputs in (sizes[group] for group in GROUPS))


def shape_of(config: Any) -> DecoderShape:
    """The sizes in a config of one of `FAMILIES`."""
    heads = config.num_attention_heads
    return DecoderShape(
        family=config.model_type,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=heads,
        groups=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
        norm_epsilon=config.rms_norm_eps,
        tied=bool(config.tie_word_embeddings),
    )


def reason_against(config: Any, *, max_tokens: int) -> str | None:
    """Why the fast engine cannot train this model on rows of this length; None if it can."""
    family = config.model_type
    if family not in FAMILIES:
        return f"the architecture `{family}` is not one of {', '.join(FAMILIES)}"
    if config.hidden_act != "silu":
        return f"its activation is `{config.hidden_act}`, not silu"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in _UNEVEN_ROPE:
        return f"its position encoding `{rope}` depends on the length of a row"
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else ""])
    if window and "sliding_attention" in kinds and max_tokens > window:
        return f"it attends to only {window} tokens, and rows may have {max_tokens}"
    return None
