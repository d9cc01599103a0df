"""Asking the models: which ones, in what order, and what they answered."""
