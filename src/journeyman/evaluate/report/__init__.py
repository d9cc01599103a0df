"""The report of an evaluation: on the terminal and as a page."""
