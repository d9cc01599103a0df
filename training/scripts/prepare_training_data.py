#!/usr/bin/env python3
"""Logged interactions -> training/data: every success, as the README gives it (policy seed)."""

from environment import hand_over

hand_over("prepare", defaults=[("--policy", "seed")])
