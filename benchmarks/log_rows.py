"""Rows of a prepared log, for benchmarks that compare recipes on the same rows."""

from pathlib import Path

from journeyman.data.dataset import read_examples
from journeyman.model.chat import Chat
from journeyman.train.batching.rows import TokenRow

# The length to which the seed recipe pads every row.
PADDED_TOKENS = 2048


def token_rows(data: Path, chat: Chat, count: int) -> list[TokenRow]:
    """Rows of the training split, spread evenly over all lengths up to the seed recipe's."""
    rows: list[TokenRow] = []
    for example in read_examples(data / "train.jsonl"):
        ids, trained = chat.encode(example.messages, trains_end=example.trains_end)
        row = TokenRow(example.id, tuple(ids), tuple(trained))
        if row.trained_tokens and len(row.ids) <= PADDED_TOKENS:
            rows.append(row)
    rows.sort(key=lambda row: len(row.ids))
    # The middle row of each of `count` equal parts.
    count = min(count, len(rows))
    return [rows[(2 * part + 1) * len(rows) // (2 * count)] for part in range(count)]
