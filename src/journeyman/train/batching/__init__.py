"""From rows to steps and micro-batches."""
