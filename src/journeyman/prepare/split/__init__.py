"""Splits by group: near-duplicates stay together, counts come out as asked."""
