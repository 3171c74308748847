"""One augmentation a file."""
