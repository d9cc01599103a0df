"""Models on disk: bases, adapters, chat templates and tokenizers."""
