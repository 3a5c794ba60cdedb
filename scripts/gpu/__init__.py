"""The parts of `scripts/gpu_*.py`: training on a GPU that is there for minutes only. See docs/gpu.md."""
