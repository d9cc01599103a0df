"""Engines: messages in, an `Answer` out. llama-server serves; torch is the yardstick."""
