#!/usr/bin/env python3
"""An adapter or a GGUF and its base on the held-out rows -> a result file and a verdict.

Ends with 0 once the result is written, whatever the verdict; `--exit-code verdict` tells it.
"""

from environment import hand_over

hand_over("evaluate", defaults=[("--exit-code", "zero")])
