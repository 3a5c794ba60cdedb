"""The figures of `scripts/figures.py`, one in each file."""
