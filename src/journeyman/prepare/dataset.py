"""The dataset's folder: written beside its goal, checked by reading it, and moved there as a whole.

The rows go by once more, from the disk to their splits, in the log's order.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from journeyman.data.secrets import redacted
from journeyman.data.splits import Split
from journeyman.errors import DataRefused, MachineError
from journeyman.files import atomic_file, atomic_folder, write_json, write_text
from journeyman.prepare.examining import Examined
from journeyman.prepare.excerpts import Album
from journeyman.prepare.judging import Judged
from journeyman.prepare.page import page
from journeyman.prepare.records import (
    LEDGER,
    METADATA,
    PAGE,
    TEST,
    TRAIN,
    VAL,
    Checked,
    LedgerRow,
    Metadata,
    Seen,
)
from journeyman.prepare.refusals import CARRIED_FILES
from journeyman.prepare.rendering import Renderer
from journeyman.prepare.rules import SECRET
from journeyman.prepare.spill import Spill
from journeyman.prepare.verifying import verify
from journeyman.records import Example, Interaction, Message
from journeyman.runs import hash_files, write_manifest
from journeyman.settings import PrepareSettings

FILES: Mapping[Split, str] = {"train": TRAIN, "val": VAL, "test": TEST}

Describe = Callable[[Mapping[str, Sequence[Seen]], Sequence[Checked]], Metadata]
"""Makes metadata.json of the examples and of what was checked on the files."""


def publish(
    examined: Examined,
    spill: Spill,
    renderer: Renderer,
    settings: PrepareSettings,
    describe: Describe,
) -> Metadata:
    """Write all files of the dataset, the manifest last, or leave what is there as it is.

    Raises MachineError where the place cannot be written.
    """
    # A link to a folder elsewhere stays a link: what it points to is replaced.
    goal = settings.output_dir.resolve()
    try:
        with atomic_folder(goal, replace=True) as folder:
            album = Album(examined)
            write_rows(folder, examined, spill, renderer, album)
            metadata = describe(album.examples(), verify(folder, examined.rows))
            write_json(folder / METADATA, metadata)
            if metadata.report is not None:
                write_text(folder / PAGE, page(metadata.report))
            written = hash_files(folder)
            for name in CARRIED_FILES:
                if (goal / name).is_file():
                    shutil.copyfile(goal / name, folder / name)
            write_manifest(
                folder,
                stage="prepare",
                settings=asdict(settings),
                inputs={metadata.input.path: metadata.input.sha256},
                outputs=written,
                facts={"splits": metadata.splits, "template_sha256": metadata.template_sha256},
            )
    except OSError as error:
        raise MachineError(
            f"cannot write `{settings.output_dir}`: {error.strerror or error}",
            hint="check the free space and the permissions of the folder around it",
        ) from error
    return metadata


def write_rows(
    folder: Path, examined: Examined, spill: Spill, renderer: Renderer, album: Album
) -> None:
    """Write the splits and the ledger. Sets how many secrets were taken out of each row."""
    encoder = msgspec.json.Encoder()
    with contextlib.ExitStack() as files:
        streams = {
            split: files.enter_context(atomic_file(folder / name)) for split, name in FILES.items()
        }
        ledger = files.enter_context(atomic_file(folder / LEDGER))
        lines = 0
        for row, example in examples(examined, spill, renderer, album):
            if example is not None:
                assert row.split is not None
                streams[row.split].write(encoder.encode(example) + b"\n")
            ledger.write(encoder.encode(ledger_row(row)) + b"\n")
            lines += 1
    assert lines == examined.source.lines


def examples(
    examined: Examined, spill: Spill, renderer: Renderer, album: Album
) -> Iterator[tuple[Judged, Example | None]]:
    """Each line in the log's order with what it becomes, None where it is not used.

    Sets how many secrets were taken out of each row, and shows each row to the album.
    """
    waiting = iter(spill)
    for row in examined.rows:
        if row.id is None:
            yield row, None
            continue
        interaction = next(waiting)
        example = _example(row, interaction, examined, renderer) if row.used else None
        album.show(row, interaction, example)
        yield row, example


def ledger_row(row: Judged) -> LedgerRow:
    """What the ledger says about a row."""
    return LedgerRow(
        line=row.line,
        id=row.id,
        action=row.action,
        rules=row.rules,
        split=row.split,
        group=row.group if row.used else None,
        reason=row.reason,
        redacted=row.redacted,
        prompt=row.prompt or None,
    )


def _example(
    row: Judged, interaction: Interaction, examined: Examined, renderer: Renderer
) -> Example:
    messages = examined.judge.messages(interaction)
    if SECRET in row.rules and examined.does[SECRET] == "redact":
        messages, row.redacted = _redacted(messages)
    try:
        text = renderer.text(messages)
    except DataRefused as error:
        raise DataRefused(f"line {row.line}: {error.message}", hint=error.hint) from error
    return Example(
        id=interaction.id,
        messages=messages,
        text=text,
        agent=interaction.agent,
        task_id=interaction.task_id,
        status=interaction.status,
        source=interaction.source,
        group=row.group,
        findings=row.rules,
        trains_end=row.action != "masked",
        duration_s=interaction.duration_s,
        checks=interaction.checks,
    )


def _redacted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], int]:
    """The messages without their secrets, and how many there were; arguments of calls too."""
    total = 0

    def hidden(text: str) -> str:
        nonlocal total
        text, counts = redacted(text)
        total += sum(counts.values())
        return text

    cleaned = tuple(
        msgspec.structs.replace(
            message,
            content=hidden(message.content),
            tool_calls=tuple(
                msgspec.structs.replace(call, arguments=hidden(call.arguments))
                for call in message.tool_calls
            ),
        )
        for message in messages
    )
    return cleaned, total
