"""The lines of the table of `benchmarks/speed.py`, one file per subject."""
