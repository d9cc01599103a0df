"""The kernels' AVX-512 forms on any processor: SIMDe carries out their instructions one by one.

With them go products of bfloat16 pairs (AVX512-BF16).
"""

import ctypes
import functools
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from journeyman.kernels import attention
from journeyman.kernels.attention import AttentionKernel, Span
from journeyman.runs import processor_flags
from tests.attended_trees import (
    EDGES,
    ODD,
    ROW,
    SHORT,
    TREE,
    assert_close_to_exact,
    assert_damage_shows_where_it_is_seen,
    assert_threads_give_equal_bits,
    assert_views_give_equal_bits,
    drawn,
)

_FOLDER = Path(attention.__file__).parent / "source"
_HEADERS = Path(__file__).parents[1] / "emulation"
# Not of this machine's processor: it may have instructions that SIMDe would then use itself.
_FLAGS = (
    "-std=c++17", "-O2", "-march=x86-64-v3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread",
    "-DJOURNEYMAN_EMULATED", "-I", str(_HEADERS),
)  # fmt: skip
_MISSING = [
    *(["g++"] if shutil.which("g++") is None else []),
    *([] if Path("/usr/include/simde/x86/avx512.h").is_file() else ["SIMDe (libsimde-dev)"]),
    *({"avx2", "fma"} - set(processor_flags())),
]
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"there is no {', no '.join(_MISSING)}")

Build = Callable[[str], ctypes.CDLL]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Gives the emulated library of `source/NAME.cpp`."""

    @functools.cache
    def built(name: str) -> ctypes.CDLL:
        path = tmp_path_factory.mktemp("emulated") / f"{name}.so"
        command = ["g++", *_FLAGS, "-o", str(path), str(_FOLDER / f"{name}.cpp")]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(path))

    return built


@pytest.fixture(scope="module")
def attends(build: Build) -> AttentionKernel:
    """The attention kernel."""
    kernel = attention._loaded(build("attention"))
    assert kernel.width == 32
    return kernel


def test_attention_passes_its_own_trial(attends: AttentionKernel) -> None:
    assert attention.is_right(attends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spans", [ROW, TREE, SHORT, EDGES, ODD])
@pytest.mark.parametrize(("heads", "groups", "size"), [(3, 1, 64), (2, 2, 32)])
def test_attention_is_masked_attention(
    attends: AttentionKernel,
    spans: tuple[Span, ...],
    heads: int,
    groups: int,
    size: int,
    dtype: torch.dtype,
) -> None:
    assert_close_to_exact(attends, drawn(spans[-1][2], heads, groups, size, dtype), spans)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_takes_parts_of_wider_rows(attends: AttentionKernel, dtype: torch.dtype) -> None:
    assert_views_give_equal_bits(attends, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_any_number_of_threads_gives_equal_bits(
    attends: AttentionKernel, dtype: torch.dtype
) -> None:
    assert_threads_give_equal_bits(attends, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_attention_hides_no_damage(
    attends: AttentionKernel, bad: float, dtype: torch.dtype
) -> None:
    assert_damage_shows_where_it_is_seen(attends, bad, dtype)
