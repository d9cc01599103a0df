"""llama.cpp: its tools, found or built (`find_tools`), and what they make of a model folder."""

from journeyman.llama_cpp.finding import existing_tools, find_tools
from journeyman.llama_cpp.tools import Tools

__all__ = ["Tools", "existing_tools", "find_tools"]
