"""A convolutional network in NumPy."""
