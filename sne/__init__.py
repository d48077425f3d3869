"""sne reads any neural network by its weights alone."""

__version__ = "0.1.0"
