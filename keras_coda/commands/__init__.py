"""The commands of `keras-coda`, a file for each: its texts, the arguments that it takes, and what it does."""
