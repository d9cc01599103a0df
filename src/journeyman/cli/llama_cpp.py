"""`journeyman llama-cpp`."""

from journeyman.console import Console


def llama_cpp() -> None:
    """Find the llama.cpp tools, or build them once, and print their folder."""
    from journeyman.llama_cpp import find_tools

    with Console() as console:
        tools = find_tools(console.report)
        console.data(str(tools.server.parent))
