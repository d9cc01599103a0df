"""What several unit tests share."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> "PreTrainedTokenizerBase":
    """SmolLM2's tokenizer; one for each module, because tests change how it encodes."""
    from transformers import AutoTokenizer

    from tests.small_models import small_tokenizer

    return AutoTokenizer.from_pretrained(str(small_tokenizer(tmp_path_factory.mktemp("tokenizer"))))
