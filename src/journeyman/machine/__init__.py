"""The machine: processor, memory, load, processes. Every fact about it is read here."""
