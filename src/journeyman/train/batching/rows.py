"""The rows of a run as token ids, with a mask of the tokens that are trained.

A row that is too long or has nothing to train is left out and named; no row is ever cut.
"""

from pathlib import Path

from msgspec import Struct

from journeyman.data.dataset import read_examples, read_metadata
from journeyman.errors import DataRefused
from journeyman.events import Caution, Note, Reporter
from journeyman.model.chat import Chat
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings

# How many of the rows left out a message names.
_NAMED_IDS = 5


class TokenRow(Struct, frozen=True):
    """One conversation in tokens; `trained[i]` says whether `ids[i]` counts in the loss."""

    id: str
    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @property
    def trained_tokens(self) -> int:
        """How many tokens count in the loss; the first never does, because nothing predicts it."""
        return sum(self.trained[1:])


class SkippedRow(Struct, frozen=True):
    """A row that is not trained on, with the reason."""

    id: str
    reason: str


class Rows(Struct, frozen=True):
    """The rows of one split: those in use and those left out."""

    used: tuple[TokenRow, ...]
    left_out: tuple[SkippedRow, ...]


class TrainingSplits(Struct, frozen=True):
    """The training split, with at least one row in use, and the validation split."""

    train: Rows
    val: Rows


def read_splits(settings: TrainSettings, base: BaseModel, report: Reporter) -> TrainingSplits:
    """Both splits of a run; reports the rows left out. Raises DataRefused if none is left."""
    from journeyman.model.chat import load_chat

    _report_other_template(settings.data_dir, base, report)
    chat = load_chat(base)
    splits = []
    for name in ("train.jsonl", "val.jsonl"):
        path = settings.data_dir / name
        splits.append(read_rows(path, chat, max_tokens=settings.max_tokens))
        _report_left_out(splits[-1], path, report)
    train, val = splits
    require_rows(train, settings.data_dir / "train.jsonl")
    if not val.used:
        report(
            Caution(
                "there are no validation rows, so nothing will show whether training helps or "
                "overfits",
                hint="give prepare more interactions, or a larger --val-share",
            )
        )
    return TrainingSplits(train, val)


def read_rows(path: Path, chat: Chat, *, max_tokens: int) -> Rows:
    """The rows of one split in tokens.

    Raises DataRefused naming the row if the base model's chat template cannot express it.
    """
    used: list[TokenRow] = []
    left_out: list[SkippedRow] = []
    for example in read_examples(path):
        try:
            encoded = chat.encode(
                example.messages, trains_end=example.trains_end, tools=example.tools
            )
        except DataRefused as error:
            raise DataRefused(
                f"`{path}` row `{example.id}`: {error.message}", hint=error.hint
            ) from error
        row = TokenRow(example.id, tuple(encoded.ids), tuple(encoded.trained))
        if len(row.ids) > max_tokens:
            left_out.append(SkippedRow(row.id, f"{len(row.ids)} tokens, more than {max_tokens}"))
        elif not row.trained_tokens:
            left_out.append(SkippedRow(row.id, "no token to train"))
        else:
            used.append(row)
    return Rows(tuple(used), tuple(left_out))


def require_rows(rows: Rows, path: Path) -> None:
    """Refuse a training split without a row to train on. Raises DataRefused."""
    if not rows.used:
        reasons = sorted({row.reason for row in rows.left_out}) or ["the file is empty"]
        raise DataRefused(
            f"`{path}` has no row to train on: {'; '.join(reasons[:_NAMED_IDS])}",
            hint="run `journeyman prepare` and read its report, or raise --max-tokens",
        )


def _report_other_template(data_dir: Path, base: BaseModel, report: Reporter) -> None:
    """Report if the dataset's `text` was rendered with another template than the base model's."""
    if read_metadata(data_dir).template_sha256 not in (None, base.template_sha256):
        report(
            Note(
                f"the `text` in `{data_dir}` was rendered with another chat template; the messages "
                f"are rendered again with the one of `{base.name}`"
            )
        )


def _report_left_out(rows: Rows, path: Path, report: Reporter) -> None:
    if not rows.left_out:
        return
    named = ", ".join(f"`{row.id}` ({row.reason})" for row in rows.left_out[:_NAMED_IDS])
    more = len(rows.left_out) - _NAMED_IDS
    rest = f" and {more} more, all listed in training_config.json" if more > 0 else ""
    count = len(rows.left_out) + len(rows.used)
    report(
        Caution(
            f"{len(rows.left_out)} of {count} rows of `{path.name}` are left out: {named}{rest}",
            hint="raise --max-tokens to keep longer rows; no answer is ever cut",
        )
    )
