#!/usr/bin/env python3
"""Compare base and tuned model on held-out tasks and give a verdict.

Exits with 0 once the result is written; with `--exit-code verdict` the exit code is the verdict.
"""

from environment import run_command

run_command("evaluate", defaults=[("--exit-code", "zero")])
