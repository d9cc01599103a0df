"""Who computes a step: the interface, the choice, the hf engine and the fast one."""
