"""The rows of both papers' tables on Shapes, with several seeds: `python -m projects.shapes_results`."""
