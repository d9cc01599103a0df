"""What a run shows while it goes on: status, progress, log, curves, warnings."""
