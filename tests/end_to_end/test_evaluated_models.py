"""Which models are compared: a GGUF is the one its manifest promises, and so is its base."""

import json
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from journeyman.errors import IntegrityError
from journeyman.evaluate.asking.models import models_under_test, require_unchanged
from journeyman.events import Caution, Event, ignore
from journeyman.files import sha256_of
from journeyman.runs import write_manifest
from journeyman.settings import EvaluateSettings
from tests.small_models import small_tokenizer


def gguf(path: Path, *, outputs: dict[str, str] | None = None, **facts: object) -> Path:
    """A few bytes under a GGUF's name, with the manifest of a conversion beside them."""
    path.write_bytes(path.name.encode())
    write_manifest(
        path.parent,
        stage="convert",
        settings={},
        inputs={},
        outputs=outputs or {path.name: sha256_of(path)},
        facts={"quantization": "Q4_K_M", **facts},
        name=f"{path.name}.manifest.json",
    )
    return path


def test_a_gguf_knows_which_bytes_were_promised(tmp_path: Path) -> None:
    model = gguf(tmp_path / "tuned.gguf", outputs={"tuned.gguf": "0" * 64})
    assert (
        models_under_test(EvaluateSettings(model=model), ignore).tuned.promised_sha256 == "0" * 64
    )


def test_a_file_that_changes_under_the_measurement_is_noticed(tmp_path: Path) -> None:
    model = gguf(tmp_path / "tuned.gguf")
    arms = models_under_test(EvaluateSettings(model=model), ignore).arms
    require_unchanged(arms)
    model.write_bytes(b"another")
    with pytest.raises(IntegrityError, match="changed while it was measured"):
        require_unchanged(arms)


def test_the_base_is_the_one_that_the_manifest_names(tmp_path: Path) -> None:
    base = gguf(tmp_path / "base.gguf")
    facts = {"name": str(base), "sha256": sha256_of(base)}
    found = models_under_test(
        EvaluateSettings(model=gguf(tmp_path / "tuned.gguf", base=facts)), ignore
    )
    assert [(arm.id, arm.path) for arm in found.arms] == [
        ("base", str(base)),
        ("tuned", str(tmp_path / "tuned.gguf")),
    ]
    assert found.tuned.sha256 == sha256_of(tmp_path / "tuned.gguf")


def test_another_quantisation_is_reported(tmp_path: Path) -> None:
    base = gguf(tmp_path / "base.gguf", quantization="Q8_0")
    events: list[Event] = []
    model = gguf(tmp_path / "tuned.gguf")
    models_under_test(EvaluateSettings(model=model, base=str(base)), events.append)
    assert any(isinstance(e, Caution) and "quantisations differ" in e.text for e in events)


def test_a_base_with_other_weights_is_refused(tmp_path: Path) -> None:
    base = small_tokenizer(tmp_path / "base")
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"w": numpy.zeros(2, numpy.float32)}, base / "model.safetensors")
    facts = {"name": str(base), "sha256": "0" * 64}
    model = gguf(tmp_path / "tuned.gguf", base=facts)
    with pytest.raises(IntegrityError, match="was made from"):
        models_under_test(EvaluateSettings(model=model), ignore)
