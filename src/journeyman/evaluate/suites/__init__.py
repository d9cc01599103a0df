"""What is measured besides the held-out split: public tasks, instructions, likelihood, quantising.

A suite that was not measured says why. Each stands for itself: only the held-out split is what the
model was tuned for.
"""
