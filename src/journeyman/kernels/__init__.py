"""Arithmetic that PyTorch lacks on some processors, in C++ compiled for this one."""
