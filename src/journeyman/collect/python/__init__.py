"""Collecting documented functions of Python packages, with doctest checks."""
