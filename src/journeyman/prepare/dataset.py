"""The dataset's folder: written beside its goal, and moved there as a whole."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from journeyman.data.examples import write_examples
from journeyman.data.splits import Split
from journeyman.errors import MachineError
from journeyman.files import atomic_folder, write_json, write_records
from journeyman.prepare.judging import Judged
from journeyman.prepare.records import LEDGER, METADATA, TEST, TRAIN, VAL, LedgerRow, Metadata
from journeyman.prepare.refusals import CARRIED_FILES
from journeyman.records import Example
from journeyman.runs import hash_files, write_manifest
from journeyman.settings import PrepareSettings

_FILES: tuple[tuple[Split, str], ...] = (("train", TRAIN), ("val", VAL), ("test", TEST))


def publish(
    rows: Sequence[Judged],
    of_group: Mapping[str, Split],
    metadata: Metadata,
    settings: PrepareSettings,
) -> None:
    """Write all files of the dataset, the manifest last, or leave what is there as it is.

    Raises MachineError where the place cannot be written.
    """
    # A link to a folder elsewhere stays a link: what it points to is replaced.
    goal = settings.output_dir.resolve()
    try:
        with atomic_folder(goal, replace=True) as folder:
            _fill(folder, rows, of_group, metadata)
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


def _fill(
    folder: Path, rows: Sequence[Judged], of_group: Mapping[str, Split], metadata: Metadata
) -> None:
    ledger = [ledger_row(row, of_group) for row in rows]
    assert len(ledger) == metadata.total_interactions
    write_records(folder / LEDGER, ledger)
    groups: dict[Split, set[str]] = {}
    for split, name in _FILES:
        examples = [
            _example(row) for row in rows if row.usable and of_group[row.usable.group] == split
        ]
        write_examples(folder / name, examples)
        groups[split] = {example.group for example in examples}
    assert not groups["train"] & groups["val"]
    assert not groups["test"] & (groups["train"] | groups["val"])
    write_json(folder / METADATA, metadata)


def ledger_row(row: Judged, of_group: Mapping[str, Split]) -> LedgerRow:
    """What the ledger says about a row."""
    group = row.usable.group if row.usable else None
    return LedgerRow(
        line=row.line,
        id=row.interaction.id if row.interaction else None,
        action=row.action,
        rules=row.rules,
        split=of_group[group] if group else None,
        group=group,
        reason=row.reason,
    )


def _example(row: Judged) -> Example:
    assert row.interaction is not None
    assert row.usable is not None
    interaction, usable = row.interaction, row.usable
    return Example(
        id=interaction.id,
        messages=usable.messages,
        text=usable.text,
        agent=interaction.agent,
        task_id=interaction.task_id,
        status=interaction.status,
        source=interaction.source,
        group=usable.group,
        findings=row.rules,
        trains_end=row.action != "masked",
        duration_s=interaction.duration_s,
        checks=interaction.checks,
    )
