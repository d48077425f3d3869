"""What goes wrong while training."""


class TrainingError(ValueError):
    """Training cannot start or go on; the message says why and what to try."""
