"""Collecting interactions, from logs of other programs and from installed Python packages.

`journeyman.collect.log.collect_log` and `journeyman.collect.python.stage.collect_python` are the
stages. Packages are parsed and never imported: their code runs only in the sandbox.
"""
