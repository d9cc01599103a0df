#!/usr/bin/env python3
"""Turn a log of interactions into the splits in training/data, with the policy `seed`."""

from environment import run_command

run_command("prepare", defaults=[("--policy", "seed")])
