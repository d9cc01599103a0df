"""The environment and the base template of the pages: escaped values, one style sheet."""
