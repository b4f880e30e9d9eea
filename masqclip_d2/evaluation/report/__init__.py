"""Results tables, published rows of the papers, saved predictions and their evaluation."""
