#!/usr/bin/env python3
"""An adapter -> a merged, checked and quantised GGUF for llama.cpp."""

from environment import hand_over

hand_over("convert")
