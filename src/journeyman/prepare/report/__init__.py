"""The report of a dataset: on the terminal, as JSON and as a page."""
