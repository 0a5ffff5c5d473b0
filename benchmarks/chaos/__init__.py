"""Faults in real processes, and proof that nothing is lost: `python -m benchmarks.chaos`."""
