"""The parts of `scripts/gpu_*.py`: training on a GPU that is available for minutes. See docs/gpu.md."""
