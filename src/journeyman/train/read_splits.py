"""The training and the validation split of a run, in tokens of its base."""

from msgspec import Struct

from journeyman.events import Caution, Reporter
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.rows import (
    Rows,
    note_other_template,
    read_rows,
    report_left_out,
    require_rows,
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
