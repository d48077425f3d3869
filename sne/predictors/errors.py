"""What goes wrong with predictors."""


class PredictorError(ValueError):
    """A predictor folder, or a request to a predictor, cannot be used; the message says which and why."""
