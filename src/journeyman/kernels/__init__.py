"""Arithmetic that PyTorch lacks on some processors, in C++ built for the one at hand."""
