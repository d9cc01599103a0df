"""What the log formats share: reading rows, turns and spans, and making interactions of them."""
