"""A whole evaluation by the real llama.cpp: SmolLM2 against its base, quantised alike."""

import shutil
from pathlib import Path

import pytest

from journeyman.evaluate.stage import evaluate
from journeyman.model.embedded import NAME, embedded_gguf
from journeyman.settings import EvaluateSettings
from tests.scripted_engine import row, write_dataset

pytestmark = pytest.mark.slow


def test_a_gguf_is_compared_with_its_base_in_the_same_quantisation(tmp_path: Path) -> None:
    model = shutil.copy(embedded_gguf(), tmp_path / "tuned.gguf")
    rows = [row(f"Write the function `double` in {way}.") for way in ("Python", "one line")]
    settings = EvaluateSettings(
        model=Path(model),
        base=NAME,
        test_data=write_dataset(tmp_path / "data", rows),
        output=tmp_path / "evaluation.json",
        max_tokens=8,
    )
    result = evaluate(settings)
    assert [arm.arm.quantization for arm in result.arms] == ["Q4_1", "Q4_1"]
    for arm in result.arms:
        served = arm.rungs[0].rate
        assert served is not None
        assert served.k == 2
        assert arm.latency.mean is not None
        assert arm.latency.tokens_per_s is not None
        # 135 M weights in 4 bits are 92 MB; the server holds at least those.
        assert (arm.peak_memory_bytes or 0) > 90_000_000
        assert arm.load_s is not None
