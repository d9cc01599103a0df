"""Engines: messages in, an `Answer` out. llama-server is used in service, torch as reference."""
