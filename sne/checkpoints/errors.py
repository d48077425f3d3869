"""The error of every reader."""

from pathlib import Path


class CheckpointError(ValueError):
    """A checkpoint that cannot be read whole: one line, "file: reason".

    Args:
        file: the file, folder, or name of the object that was read.
        reason: what came, and what was expected.
    """

    def __init__(self, file: str | Path, reason: str):
        self.file = str(file)
        self.reason = " ".join(reason.split())
        super().__init__(f"{self.file}: {self.reason}")

    def __reduce__(self) -> tuple[type["CheckpointError"], tuple[str, str]]:
        return CheckpointError, (self.file, self.reason)
