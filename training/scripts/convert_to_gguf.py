#!/usr/bin/env python3
"""Merge an adapter into its base model, quantise it to GGUF and check the result."""

from environment import run_command

run_command("convert")
