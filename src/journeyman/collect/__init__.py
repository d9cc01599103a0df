"""Interactions from where they can be had; today from installed Python packages.

`journeyman.collect.python.package.collect_python` is the stage. Packages are read, never imported:
what their code does is only ever found out inside the sandbox.
"""
