"""Checking a report: every number recomputed from what it stores."""
