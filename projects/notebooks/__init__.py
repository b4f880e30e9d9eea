"""The notebooks of demo/ and docs/tutorials/: execution without Jupyter, small stored outputs, checks of them."""
