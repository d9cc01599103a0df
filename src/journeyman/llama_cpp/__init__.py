"""llama.cpp: its tools, found or built (`find_tools`), to convert, quantise and measure models."""

from journeyman.llama_cpp.finding import find_tools
from journeyman.llama_cpp.tools import Tools

__all__ = ["Tools", "find_tools"]
