"""The rules of the doctor, a file each, and the registry of them all."""
