"""What `scripts/figures.py` draws, a figure a file."""
