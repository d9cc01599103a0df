"""From scored answers to rates, latencies and intervals."""
