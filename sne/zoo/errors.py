"""What goes wrong with zoos, said in one line."""


class ZooError(ValueError):
    """A zoo folder, a recipe or an image set is not what it should be; the message says which and why."""
