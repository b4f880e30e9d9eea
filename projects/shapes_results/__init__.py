"""Rows of both papers on Shapes: trainings, seeds and the tables of results."""
