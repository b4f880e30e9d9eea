"""Data: the Shapes world, registered datasets, image reading and mappers.

Nothing is imported here, so that rendering needs neither torch nor Detectron2. `registration` registers the datasets
when it is imported, which `mappers` does.
"""
