"""The machine: processor, memory, disk, load, processes. Every fact about it is read here."""
