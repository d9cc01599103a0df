"""Checkpoints: written, read, resumed from, replayed."""
