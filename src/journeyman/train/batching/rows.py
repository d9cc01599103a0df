"""Rows as token ids with a mask of what is trained; what does not fit is listed, never cut.

The training and the validation split of a run, in tokens of its base.
"""

from pathlib import Path

from msgspec import Struct

from journeyman.data.dataset import read_examples, read_metadata
from journeyman.errors import DataRefused
from journeyman.events import Caution, Note, Reporter
from journeyman.model.chat import Chat
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings

_NAMED_IDS = 5


class TokenRow(Struct, frozen=True):
    """One conversation in tokens: `trained[i]` says whether `ids[i]` is to be learned."""

    id: str
    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @property
    def trained_tokens(self) -> int:
        """How many tokens give a loss; the first has nothing before it and never does."""
        return sum(self.trained[1:])


class SkippedRow(Struct, frozen=True):
    """A row that is not trained on, and why."""

    id: str
    reason: str


class Rows(Struct, frozen=True):
    """The rows of one split that are used, and those that are not."""

    used: tuple[TokenRow, ...]
    left_out: tuple[SkippedRow, ...]


def read_rows(path: Path, chat: Chat, *, max_tokens: int) -> Rows:
    """The rows of a split in tokens; longer ones and those with nothing to learn are left out.

    Raises DataRefused that names the row where the base's chat template cannot express it.
    """
    used: list[TokenRow] = []
    left_out: list[SkippedRow] = []
    for example in read_examples(path):
        try:
            ids, mask = chat.encode(
                example.messages, trains_end=example.trains_end, tools=example.tools
            )
        except DataRefused as error:
            raise DataRefused(
                f"`{path}` row `{example.id}`: {error.message}", hint=error.hint
            ) from error
        row = TokenRow(example.id, tuple(ids), tuple(mask))
        if len(row.ids) > max_tokens:
            left_out.append(SkippedRow(row.id, f"{len(row.ids)} tokens, more than {max_tokens}"))
        elif not row.trained_tokens:
            left_out.append(SkippedRow(row.id, "no token to learn"))
        else:
            used.append(row)
    return Rows(tuple(used), tuple(left_out))


def report_left_out(rows: Rows, path: Path, report: Reporter) -> None:
    """Name the rows of a split that are not used."""
    if not rows.left_out:
        return
    named = ", ".join(f"`{row.id}` ({row.reason})" for row in rows.left_out[:_NAMED_IDS])
    more = len(rows.left_out) - _NAMED_IDS
    rest = f" and {more} more, all in training_config.json" if more > 0 else ""
    count = len(rows.left_out) + len(rows.used)
    report(
        Caution(
            f"{len(rows.left_out)} of {count} rows of `{path.name}` are left out: {named}{rest}",
            hint="raise --max-tokens to keep longer rows; no answer is ever cut",
        )
    )


def require_rows(rows: Rows, path: Path) -> None:
    """Refuse a training split from which nothing can be learned. Raises DataRefused."""
    if not rows.used:
        reasons = sorted({row.reason for row in rows.left_out}) or ["the file holds no row"]
        raise DataRefused(
            f"`{path}` holds no row to train on: {'; '.join(reasons[:_NAMED_IDS])}",
            hint="run `journeyman prepare` and read its report, or raise --max-tokens",
        )


def note_other_template(data_dir: Path, base: BaseModel, report: Reporter) -> None:
    """Say so where the dataset's `text` was rendered with another template than the base's."""
    if read_metadata(data_dir).template_sha256 not in (None, base.template_sha256):
        report(
            Note(
                f"the `text` in `{data_dir}` was rendered with another chat template; the messages "
                f"are rendered anew with the one of `{base.name}`"
            )
        )


class TrainingSplits(Struct, frozen=True):
    """The rows that are trained on, one at least, and those that show whether it helps."""

    train: Rows
    val: Rows


def read_splits(settings: TrainSettings, base: BaseModel, report: Reporter) -> TrainingSplits:
    """Both splits; what is left out or lacking is said. Raises DataRefused without a row."""
    from journeyman.model.chat import load_chat

    note_other_template(settings.data_dir, base, report)
    chat = load_chat(base)
    rows = []
    for name in ("train.jsonl", "val.jsonl"):
        path = settings.data_dir / name
        rows.append(read_rows(path, chat, max_tokens=settings.max_tokens))
        report_left_out(rows[-1], path, report)
    require_rows(rows[0], settings.data_dir / "train.jsonl")
    if not rows[1].used:
        report(
            Caution(
                "there is no validation row, so nothing will show whether training helps",
                hint="give prepare more interactions, or a larger --val-share",
            )
        )
    return TrainingSplits(*rows)
