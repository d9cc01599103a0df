"""A program: llama.cpp's converter, reading exactly the tokenizer in `tokenizer.json`.

transformers picks a tokenizer's splitting rules by the model's architecture and ignores those in
the file: a model of Qwen2's architecture with another tokenizer is read wrongly, or not recognised.
Training reads the file (`journeyman.model.base`), so conversion must do so too.
Usage: python convert_with_own_tokenizer.py CONVERTER ARGUMENTS...
"""

import runpy
import sys
from pathlib import Path


def run_converter(arguments: list[str]) -> None:
    """Run the converter in this process as if it had been started directly."""
    import transformers

    by_architecture = transformers.AutoTokenizer.from_pretrained

    def from_file(folder: str | Path, *others: object, **settings: object) -> object:
        if (Path(folder) / "tokenizer.json").is_file():
            return transformers.PreTrainedTokenizerFast.from_pretrained(str(folder))
        return by_architecture(folder, *others, **settings)

    transformers.AutoTokenizer.from_pretrained = from_file
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    run_converter(sys.argv[1:])
