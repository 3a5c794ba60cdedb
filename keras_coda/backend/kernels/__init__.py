"""Kernels of the contraction by backend. Imported by the active backend's module alone."""
