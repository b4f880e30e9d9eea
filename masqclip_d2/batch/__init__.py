"""Many files through one model: which files are inputs, where results are written, what happens to failures.

May import the predictor and everything below it, no command line.
"""
