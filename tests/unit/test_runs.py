"""`journeyman.runs`: manifests that notice change, and folders with one owner."""

import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.errors import IntegrityError, MachineError
from journeyman.runs import (
    cache_folder,
    damaged_outputs,
    folder_lock,
    hash_files,
    read_manifest,
    write_manifest,
)


def finished_folder(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights").write_bytes(b"12345")
    write_manifest(folder, stage="train", settings={"path": folder}, inputs={"data": "ab"})
    return folder


def test_a_manifest_names_every_file_but_itself(tmp_path: Path) -> None:
    manifest = read_manifest(finished_folder(tmp_path / "run"))
    assert manifest is not None
    assert list(manifest.outputs) == ["sub/weights"]
    assert manifest.settings == {"path": str(tmp_path / "run")}


@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_any_change_of_an_output_is_noticed(tmp_path: Path, change: str) -> None:
    folder = finished_folder(tmp_path / "run")
    weights = folder / "sub" / "weights"
    match change:
        case "flip":
            weights.write_bytes(b"12344")
        case "cut":
            weights.write_bytes(b"123")
        case _:
            weights.unlink()
    manifest = read_manifest(folder)
    assert manifest is not None
    assert damaged_outputs(folder, manifest) == ["sub/weights"]


def test_unfinished_files_are_not_hashed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-weights-1").touch()
    (tmp_path / "weights").touch()
    assert list(hash_files(tmp_path)) == ["weights"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"manifest\.json` is damaged"):
        read_manifest(tmp_path)


def test_a_manifest_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "run")
    path = folder / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"schema": 1', '"schema": 99'), "utf-8")
    with pytest.raises(IntegrityError, match="newer version"):
        read_manifest(folder)


def test_a_second_owner_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from journeyman.runs import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): pass"
    )
    with folder_lock(tmp_path / "run"):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "MachineError" in second.stderr
        assert "is in use by process" in second.stderr
    with folder_lock(tmp_path / "run"):
        pass


def test_the_same_process_cannot_own_a_folder_twice(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(MachineError, match="in use"), folder_lock(tmp_path):
        pass


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", "~/elsewhere")
    assert cache_folder() == Path("~/elsewhere").expanduser()


def test_a_folder_is_had_as_soon_as_its_killed_owner_is_gone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from journeyman.runs import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "mine\n"
    first.kill()
    with folder_lock(tmp_path):
        pass
    first.wait()
    first.stdout.close()
