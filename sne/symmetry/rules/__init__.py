"""What each operation does to axes and scales."""
