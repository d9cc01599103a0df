"""From an answer to its rungs on the ladder."""
