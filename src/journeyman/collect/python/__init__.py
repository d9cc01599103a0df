"""From documented Python packages to interactions with doctest checks."""
