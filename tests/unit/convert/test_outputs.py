"""The names a conversion writes: whose files may be replaced, and what a killed run leaves."""

from pathlib import Path

import pytest

from journeyman.convert.outputs import Outputs, Parity, work_folder
from journeyman.errors import MachineError, UsageError
from journeyman.files import sha256_of
from journeyman.records import Gguf
from journeyman.runs import read_manifest

PARITY = Parity(equal=5, tokens=32, near_ties=(), near_tie_margin=0.05, smallest_margin=0.2)


def outputs(folder: Path, *, adapter: str = "a", kind: str = "Q4_K_M") -> Outputs:
    inputs = {"adapter": adapter, "base": "b"}
    return Outputs(folder / "m.gguf", kind, inputs, {"quantize": kind})


def publish(wanted: Outputs) -> None:
    with work_folder(wanted.output) as work:
        made = {}
        for path in wanted.paths:
            (work / path.name).write_text(path.name)
            made[path] = Gguf(work / path.name, sha256_of(work / path.name), 1, "any")
        wanted.publish(made, {}, PARITY)


def test_published_files_are_found_again_by_the_same_run(tmp_path: Path) -> None:
    wanted = outputs(tmp_path)
    publish(wanted)
    found = wanted.finished()
    assert found is not None
    assert (found.outcome, found.gguf.path, found.f16.path.name, found.parity) == (
        "fresh",
        tmp_path / "m.gguf",
        "m.f16.gguf",
        PARITY,
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["m.f16.gguf", "m.gguf", "m.gguf.manifest.json"]


def test_the_manifest_states_the_quantisation(tmp_path: Path) -> None:
    wanted = outputs(tmp_path)
    publish(wanted)
    manifest = read_manifest(tmp_path, name=wanted.manifest)
    assert manifest is not None
    assert manifest.facts["quantization"] == "Q4_K_M"


def test_without_quantisation_the_f16_file_is_the_output(tmp_path: Path) -> None:
    publish(outputs(tmp_path, kind="F16"))
    assert not (tmp_path / "m.f16.gguf").exists()


def test_files_of_another_adapter_are_in_the_way_and_named(tmp_path: Path) -> None:
    publish(outputs(tmp_path))
    other = outputs(tmp_path, adapter="other")
    assert other.finished() is None
    with pytest.raises(UsageError, match=r"m\.f16\.gguf` and `.*m\.gguf` and .* already exist"):
        other.require_free()


def test_a_file_of_unknown_origin_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("mine")
    with pytest.raises(UsageError, match="already exist"):
        outputs(tmp_path).require_free()


def test_a_changed_file_is_not_fresh_and_may_be_made_again(tmp_path: Path) -> None:
    wanted = outputs(tmp_path)
    publish(wanted)
    (tmp_path / "m.gguf").write_text("damaged")
    assert wanted.finished() is None
    wanted.require_free()


def test_a_run_killed_between_two_renames_can_be_repeated(tmp_path: Path) -> None:
    wanted = outputs(tmp_path)
    publish(wanted)
    (tmp_path / wanted.manifest).rename(tmp_path / wanted.claim)  # the last rename did not happen
    (tmp_path / "m.gguf").unlink()
    assert wanted.finished() is None
    wanted.require_free()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-m.gguf.work" / "files" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    with work_folder(tmp_path / "m.gguf") as work:
        assert list(work.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_two_runs_with_one_output_do_not_mix(tmp_path: Path) -> None:
    with (
        work_folder(tmp_path / "m.gguf"),
        pytest.raises(MachineError, match="in use by process"),
        work_folder(tmp_path / "m.gguf"),
    ):
        pass
