"""Causal attention over packed rows with shared prefixes, forward and backward, without a mask.

The tokens of a node attend causally within the node, and all later tokens of its descendants attend
to all of it. A token's parts are joined by the logarithms of their softmax sums. Given the joined
output and sum, the backward of each part is exact on its own, and the gradients add up (the
identity behind FlashAttention, Dao 2023, arXiv 2307.08691, and Ring Attention, Liu 2023, arXiv
2310.01889).
"""

from collections.abc import Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.kernels.attention import AttentionKernel
from journeyman.train.engine.fast.packing import TokenSpan


class Heads(Struct, frozen=True):
    """query: (T, heads, D). key, value: (T, groups, D); heads is a multiple of groups."""

    query: Tensor
    key: Tensor
    value: Tensor


class AttentionOutput(Struct, frozen=True):
    """output: (T, heads, D) in the queries' dtype. log_sum: (heads, T) float32."""

    output: Tensor
    log_sum: Tensor


def attend(
    heads: Heads, spans: Sequence[TokenSpan], kernel: AttentionKernel | None = None
) -> AttentionOutput:
    """Softmax attention scaled by 1/sqrt(D); kernel: used if it supports the queries."""
    query = heads.query
    if kernel is not None and kernel.takes(query):
        return AttentionOutput(*kernel.forward(query, heads.key, heads.value, _nodes(spans)))
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    log_sum = query.new_empty((query.shape[1], query.shape[0]), dtype=torch.float32)
    for span in spans:
        own = slice(span.start, span.end)
        output[own], log_sum[:, own] = _forward(heads, own, own, causal=True)
    # Parents come before their children, so a node's own part is ready when theirs are joined.
    for span in spans:
        if span.reach > span.end:
            own, later = slice(span.start, span.end), slice(span.end, span.reach)
            part, sums = _forward(heads, later, own, causal=False)
            _join(output[later], log_sum[:, later], part, sums)
    return AttentionOutput(output, log_sum)


def _join(output: Tensor, log_sum: Tensor, part: Tensor, part_log_sum: Tensor) -> None:
    """Add a part to the output and its sums, in place."""
    joined = torch.logaddexp(log_sum, part_log_sum)
    old_share = (log_sum - joined).exp_().t().unsqueeze(2)
    new_share = (part_log_sum - joined).exp_().t().unsqueeze(2)
    output.copy_(output * old_share + part * new_share)
    log_sum.copy_(joined)


def attend_backward(
    gradient: Tensor,
    heads: Heads,
    attended: AttentionOutput,
    spans: Sequence[TokenSpan],
    kernel: AttentionKernel | None = None,
) -> Heads:
    """Gradients of `attend` by query, key and value. gradient: (T, heads, D), by its output."""
    if kernel is not None and kernel.takes(heads.query):
        tensors = (heads.query, heads.key, heads.value, attended.output, attended.log_sum)
        return Heads(*kernel.backward(gradient, *tensors, _nodes(spans)))
    query, key, value = (
        torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (heads.query, heads.key, heads.value)
    )
    for span in spans:
        own = slice(span.start, span.end)
        part = _backward(gradient, heads, attended, own, own)
        query[own], key[own], value[own] = part.query, part.key, part.value
    for span in spans:
        if span.reach > span.end:
            own, later = slice(span.start, span.end), slice(span.end, span.reach)
            part = _backward(gradient, heads, attended, later, own)
            query[later] += part.query
            key[own] += part.key
            value[own] += part.value
    return Heads(query, key, value)


def _nodes(spans: Sequence[TokenSpan]) -> list[tuple[int, int, int]]:
    return [(span.start, span.end, span.reach) for span in spans]


def _forward(heads: Heads, queries: slice, keys: slice, *, causal: bool) -> tuple[Tensor, Tensor]:
    query = _heads_first(heads.query[queries])
    key, value = _heads_first(heads.key[keys]), _heads_first(heads.value[keys])
    if query.device.type == "cpu":
        output, log_sum = _flash_forward(query, key, value, causal)
    else:
        output, log_sum = plain_forward(query, key, value, causal=causal)
    return output[0].transpose(0, 1), log_sum[0]


def _backward(
    gradient: Tensor, heads: Heads, attended: AttentionOutput, queries: slice, keys: slice
) -> Heads:
    causal = queries == keys
    tensors = (
        _heads_first(gradient[queries]),
        _heads_first(heads.query[queries]),
        _heads_first(heads.key[keys]),
        _heads_first(heads.value[keys]),
        _heads_first(attended.output[queries]),
        attended.log_sum[:, queries].unsqueeze(0).contiguous(),
    )
    if gradient.device.type == "cpu":
        parts = _flash_backward(*tensors, causal)
    else:
        parts = plain_backward(*tensors, causal=causal)
    return Heads(*(part[0].transpose(0, 1) for part in parts))


def _flash_forward(
    query: Tensor, key: Tensor, value: Tensor, causal: bool
) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal
    )
    return result


def _flash_backward(*arguments: Tensor | bool) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, causal = arguments
    gradients: tuple[Tensor, Tensor, Tensor] = (
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*tensors, 0.0, causal)
    )
    return gradients


def _heads_first(states: Tensor) -> Tensor:
    return states.transpose(0, 1).unsqueeze(0)


def plain_forward(
    query: Tensor, key: Tensor, value: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor]:
    """Attention by plain matrix products, for devices other than the processor.

    query: (1, heads, T, D). key, value: (1, groups, S, D). Gives the output in the queries' shape
    and the logarithms of the softmax sums, (1, heads, T) float32.
    """
    scores = _scores(query, key, causal=causal)
    log_sum = scores.logsumexp(-1)
    shares = (scores - log_sum.unsqueeze(-1)).exp().to(value.dtype)
    output = (shares @ value.unsqueeze(2)).flatten(1, 2)
    return output, log_sum.flatten(1, 2)


def plain_backward(  # noqa: PLR0917 (the order of torch's own operator)
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum: Tensor,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `plain_forward` by query, key and value, given the joined output and sums."""
    groups, size = key.shape[1], query.shape[-1]
    shares = (_scores(query, key, causal=causal) - _grouped(log_sum, groups).unsqueeze(-1)).exp()
    by_output, outputs = _grouped(gradient, groups).float(), _grouped(output, groups).float()
    by_share = by_output @ value.float().unsqueeze(2).transpose(-1, -2)
    by_score = shares * (by_share - (by_output * outputs).sum(-1, keepdim=True)) / size**0.5
    by_query = (by_score @ key.float().unsqueeze(2)).flatten(1, 2)
    by_key = (by_score.transpose(-1, -2) @ _grouped(query, groups).float()).sum(2)
    by_value = (shares.transpose(-1, -2) @ by_output).sum(2)
    return by_query.to(query.dtype), by_key.to(key.dtype), by_value.to(value.dtype)


def _grouped(states: Tensor, groups: int) -> Tensor:
    """(1, heads, ...) as (1, groups, heads of a group, ...)."""
    grouped: Tensor = states.reshape(1, groups, -1, *states.shape[2:])
    return grouped


def _scores(query: Tensor, key: Tensor, *, causal: bool) -> Tensor:
    """(1, groups, heads of a group, T, S) float32; -inf for keys that a token must not see."""
    grouped = _grouped(query, key.shape[1])
    scores: Tensor = (grouped @ key.unsqueeze(2).transpose(-1, -2)).float() / query.shape[-1] ** 0.5
    if not causal:
        return scores
    visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return scores.masked_fill(~visible, float("-inf"))
