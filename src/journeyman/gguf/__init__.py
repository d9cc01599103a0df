"""Reading GGUF files: the header and what it holds."""
