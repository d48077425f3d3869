"""The errors that sne raises for input it cannot use, and the hint about a package that is not installed."""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path


@dataclass(frozen=True)
class Remedy:
    """An argument with which a call that failed can succeed. Commands have an option of the same name.

    Args:
        name: Name of the argument.
        value: The value that helps. None means that the user has to choose one. True means that the option of commands
            takes no value.
        effect: What the argument does, as the verb of a sentence.

    Example:
        >>> str(Remedy("select", "ema", "reads one of them"))
        "select='ema' reads one of them"
        >>> str(Remedy("path_column", None, "chooses one"))
        'path_column chooses one'
    """

    name: str
    value: str | bool | None
    effect: str

    def __str__(self) -> str:
        return f"{self.name} {self.effect}" if self.value is None else f"{self.name}={self.value!r} {self.effect}"


class SneError(ValueError):
    """Base class of all errors raised by sne: one line that says what came, what was expected, and where.

    Args:
        text: That line, without the remedies.
        *remedies: Arguments that would help, each of them alone; the line ends with them.

    Example:
        >>> str(SneError("out: holds a predictor", Remedy("overwrite", True, "replaces it")))
        'out: holds a predictor; overwrite=True replaces it'
    """

    def __init__(self, text: str = "", *remedies: Remedy):
        self.text = text
        self.remedies = remedies
        super().__init__(f"{text}; {' or '.join(map(str, remedies))}" if remedies else text)


class CheckpointError(SneError):
    """A checkpoint cannot be read whole: one line, "file: reason", and what would help if anything does.

    Args:
        file: The file, the folder, or the name of the object that was read, as its text names it.
        reason: What came, and what was expected.
        *remedies: Arguments with which it can be read.
    """

    def __init__(self, file: object, reason: str, *remedies: Remedy):
        self.file = str(file)
        self.reason = " ".join(reason.split())
        super().__init__(f"{self.file}: {self.reason}", *remedies)

    def __reduce__(self) -> tuple[type["CheckpointError"], tuple[str | Remedy, ...]]:
        return type(self), (self.file, self.reason, *self.remedies)


def reason_of(error: Exception) -> str:
    """Returns why something failed in one line, without its remedies and without the file of a `CheckpointError`.

    Example:
        >>> reason_of(CheckpointError("net.pt", "has NaN", Remedy("allow_nonfinite", True, "leaves them out")))
        'has NaN'
    """
    if isinstance(error, CheckpointError):
        return error.reason
    return " ".join((error.text if isinstance(error, SneError) else str(error)).split())


class RemoteError(CheckpointError):
    """A remote file cannot be fetched: the server, the network, or the address is at fault, and not its content."""


class WriteError(SneError):
    """A file or a folder cannot be written: one line, "cannot write FILE: reason".

    Args:
        file: The file or the folder.
        reason: The reason, such as "no space left on device".
    """

    def __init__(self, file: str | Path, reason: str):
        self.file = str(file)
        self.reason = " ".join(reason.split())
        super().__init__(f"cannot write {self.file}: {self.reason}")

    @classmethod
    def from_os_error(cls, file: str | Path, error: OSError) -> "WriteError":
        """Returns the error for a file whose writing failed with an OSError."""
        text = error.strerror or str(error)
        return cls(file, text if text.startswith("/") else text[:1].lower() + text[1:])

    def __reduce__(self) -> tuple[type["WriteError"], tuple[str, str]]:
        return WriteError, (self.file, self.reason)


class WorkError(SneError):
    """Work cannot be distributed: a process cannot be started, or a Ray cluster cannot be reached."""


class SymmetryError(SneError):
    """A symmetry cannot be traced, read, drawn or applied."""


class ZooError(SneError):
    """A zoo folder, a recipe or an image set is not usable."""


class PredictorError(SneError):
    """A predictor folder, or a request to a predictor, is not usable."""


class ProvenanceError(SneError):
    """An index is not usable, or a request to it."""


class ReportError(SneError):
    """A card or a map cannot be made of what was given."""


class TrainingError(SneError):
    """Training cannot start or continue."""


class CannotTakeError(SneError):
    """A method of the laboratory cannot read a network, or the networks of a zoo together.

    Args:
        reason: One line: what came, what was expected, and which layer or network.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StudyError(SneError):
    """A study, a scale or a method is not known, or something that a study needs is missing."""


def counted(count: int, noun: str) -> str:
    """Writes a count with its noun in the singular or the plural.

    Example:
        >>> counted(1, "network"), counted(1200, "network"), counted(0, "property")
        ('1 network', '1,200 networks', '0 properties')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def install_hint(extra: str) -> str:
    """Says how to install the packages of an optional extra, in a way that works with and without a clone of sne.

    Args:
        extra: Name of the extra in pyproject.toml.

    Returns:
        The end of an error message.

    Example:
        >>> install_hint("ray")
        "install the extra 'ray': pip install 'ray>=2.45', or in a clone of sne: pip install '.[ray]'"
    """
    clone = f"pip install '.[{extra}]'"
    packages = _packages_of_extra(extra)
    if not packages:
        return f"install the extra {extra!r}, in a clone of sne: {clone}"
    quoted = " ".join(f"'{package}'" for package in packages)
    return f"install the extra {extra!r}: pip install {quoted}, or in a clone of sne: {clone}"


def _packages_of_extra(extra: str) -> list[str]:
    try:
        requirements = requires("sne") or []
    except PackageNotFoundError:  # sne is on the path, but not installed
        return []
    marker = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    return [line.split(";")[0].strip() for line in requirements if marker.search(line)]
