"""Data that stages share: the log of interactions, prompts and their groups, the dataset."""
