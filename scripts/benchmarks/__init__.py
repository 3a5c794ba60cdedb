"""What `scripts/benchmark.py` is made of: the networks it compares, what it counts, times and prints."""
