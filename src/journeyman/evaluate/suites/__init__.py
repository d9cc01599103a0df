"""Measured besides the held-out split: public tasks, instructions, likelihood, quantisation.

A suite that was not measured says why. The model was tuned for the held-out split only, so each
suite is read on its own.
"""
