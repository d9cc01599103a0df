"""A coding agent's logged work in; a small local model that has learned it, proven, out."""

__version__ = "0.1.0"
