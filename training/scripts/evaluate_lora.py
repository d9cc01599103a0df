#!/usr/bin/env python3
"""An adapter or a GGUF and its base on the held-out rows -> a result file and a verdict."""

from environment import hand_over

hand_over("evaluate")
