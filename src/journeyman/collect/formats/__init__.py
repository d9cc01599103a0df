"""Importers: one module a log format, each with a `FORMAT` that `known.FORMATS` lists."""
