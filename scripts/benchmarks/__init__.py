"""The parts of `scripts/benchmark.py`: networks, counts, measurements and tables."""
