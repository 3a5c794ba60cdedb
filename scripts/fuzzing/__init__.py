"""The kinds of cases of `scripts/fuzz.py`, and the process that runs them."""
