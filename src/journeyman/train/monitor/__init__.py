"""What a run shows while it trains: status, progress, log, curves, loss warnings."""
