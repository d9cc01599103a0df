"""What the tests of training share: a small base and rows, made once for each module."""

from pathlib import Path

import pytest

from tests.small_models import small_dataset, small_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "base", "llama")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"), train=10, val=3)
