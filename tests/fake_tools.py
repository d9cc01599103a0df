"""Folders of programs that stand in for llama.cpp's: small scripts that are really run."""

import sys
from pathlib import Path

from journeyman.llama_cpp.source import VOCABULARIES
from journeyman.llama_cpp.tools import CONVERTER, PROGRAMS, SERVER_FLAGS, Tools

HELP = f"#!/bin/sh\necho '{' '.join(SERVER_FLAGS)}'\n"
OLD_HELP = "#!/bin/sh\necho '--port --host'\n"

# Copies `answer.gguf` from beside itself to where the converter was told to write.
CONVERT = """
import os, shutil, sys
print("Writing:  50%|##", file=sys.stderr)
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "answer.gguf")
if not os.path.exists(source):
    sys.exit("the tokenizer is not known")
shutil.copy(source, sys.argv[sys.argv.index("--outfile") + 1])
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def write_vocabularies(folder: Path) -> None:
    """The files that stand for vocabularies; nothing here reads them."""
    for name in VOCABULARIES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"vocabulary {name}", encoding="utf-8")


def write_tools(folder: Path, *, programs: str = "", server: str = HELP) -> Path:
    """A folder with every tool; `programs` is the folder in it where the programs go."""
    write_vocabularies(folder)
    for name in PROGRAMS.values():
        write_program(folder / programs / name, server)
    (folder / CONVERTER).write_text(CONVERT, encoding="utf-8")
    for part in ("conversion", "gguf-py"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "__init__.py").write_text("", encoding="utf-8")
    return folder


def fake_tools(folder: Path, *, server: str = HELP, quantize: str = "") -> Tools:
    """The record of a folder of stand-ins; `quantize` is a shell script of its own."""
    write_tools(folder, server=server)
    if quantize:
        write_program(folder / PROGRAMS["quantize"], quantize)
    paths = {field: folder / name for field, name in PROGRAMS.items()}
    return Tools(
        **paths, converter=folder / CONVERTER, source=folder, identity="fake", origin="environment"
    )


def python_script(text: str) -> str:
    """A script that this interpreter runs."""
    return f"#!{sys.executable}\n{text}"


def fake_server() -> str:
    """The script that stands in for llama-server (`tests/fake_server.py`)."""
    return python_script(Path(__file__).with_name("fake_server.py").read_text(encoding="utf-8"))
