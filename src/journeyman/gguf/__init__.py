"""Reading GGUF files: the header and its arrays."""
