"""The records of an evaluation."""
