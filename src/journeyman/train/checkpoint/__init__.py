"""Checkpoints, the final result, and replays of steps whose loss was not finite."""
