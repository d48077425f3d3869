"""What goes wrong with a study for a reason that the user can mend."""


class StudyError(ValueError):
    """A study, a scale or a method is not known, or something that a study needs is missing."""
