"""What the log formats share: rows, calls, turns, spans."""
