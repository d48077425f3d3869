"""Arguments and options that several commands share."""

import shlex
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sne.cli.sizes import parse_bytes, parse_weights
from sne.errors import CheckpointError, Remedy, SneError

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="Checkpoints: files, globs, folders of checkpoints, or - to read one path per line from stdin.",
    ),
]
PredictorFolder = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        show_default=False,
        help="Folder of a predictor, as written by sne train, the name of a packaged one, or hf://org/name. Default: "
        "the packaged predictor, which knows small image classifiers.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of networks per forward pass; changes speed and memory only.")
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="cpu, cuda, or auto: cuda if there is a CUDA device, else cpu.")
]
"""The device on which the predictor runs."""


Select = Annotated[
    str | None,
    typer.Option(
        "--select",
        metavar="NAME",
        show_default=False,
        help="Network to read from files that hold several: the key of its state dict (model_ema, 0) or a prefix of "
        "its tensors' names (teacher). Default: the main network; a note states which one.",
    ),
]
AllowNonfinite = Annotated[
    bool,
    typer.Option(
        "--allow-nonfinite",
        help="Read networks with NaN or infinite weights, without the layers that hold them; their tensors are named "
        "on stderr. All values are then loaded once more.",
    ),
]


def _size(parse: Callable[[str], int]) -> Callable[[str], int]:
    """Returns a parser whose errors typer shows with the name of the option."""

    def parse_option(text: str) -> int:
        try:
            return parse(text)
        except SneError as error:
            raise typer.BadParameter(str(error)) from None

    return parse_option


Memory = Annotated[
    int | None,
    typer.Option(
        parser=_size(parse_bytes),
        metavar="SIZE",
        show_default=False,
        help="Largest resident size of each process: 512MB, 1GB, 2GiB. Large networks are then read and encoded piece "
        "by piece, with the same result up to rounding. Default: the encoder's own bound; small networks need less.",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        parser=_size(parse_weights),
        metavar="WEIGHTS",
        show_default=False,
        help="Largest number of weights to read of a network: 200000, 50M, 1.5B. A network with more is represented "
        "by a random sample of every tensor, always the same one, and the result is an estimate; NaN in weights that "
        "are not read goes unnoticed, unless --allow-nonfinite has all of them read. Default: all weights.",
    ),
]


Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        show_default=False,
        help="Number of processes that read files and compute on the CPU, with one thread each; 0 reads in the "
        "command's own process, which is fastest for few files. Default: chosen by number and size of the files, at "
        "most one per core. With --ray local: number of cores of the new cluster (default 2); other clusters use all "
        "of their cores.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        show_default=False,
        help="Read on a Ray cluster: auto, HOST:PORT, or local for a new one. All nodes have to see the files under "
        "the same paths.",
    ),
]


class Command(TyperCommand):
    """A command whose help names arguments without types of Python and without braces: FILE..."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None  # pyright: ignore[reportAttributeAccessIssue]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns what stands after the name of the command in the first line of its help."""
        return [piece.translate({ord("{"): None, ord("}"): None}) for piece in super().collect_usage_pieces(ctx)]


_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options of the command", default=frozenset())


def knows_its_options(command: Callable[..., None]) -> Callable[..., None]:
    """Lets `told` know which options a command has, from the moment that it runs."""
    options = frozenset(signature(command).parameters)

    @wraps(command)
    def run(*arguments: Any, **values: Any) -> None:
        _OPTIONS.set(options)
        command(*arguments, **values)

    return run


_NEXT_STEPS = {"allow_nonfinite": "sne check {file} names all layers with such values"}
"""What helps where a command lacks the option that would, by name of the argument."""


def told(error: Exception, typed: Callable[[str], str] = str) -> str:
    """Returns the text of an error in one line; what would help is named as an option, or as another command.

    Args:
        error: The error.
        typed: Gives the name under which another command finds a file.
    """
    if not isinstance(error, SneError):
        return " ".join(str(error).split())
    options = [_as_option(remedy) for remedy in error.remedies if remedy.name in _OPTIONS.get()]
    if not options and isinstance(error, CheckpointError):
        steps = [_NEXT_STEPS[remedy.name] for remedy in error.remedies if remedy.name in _NEXT_STEPS]
        options = [step.format(file=shlex.quote(typed(error.file))) for step in steps]
    return " ".join((f"{error.text}; {' or '.join(options)}" if options else error.text).split())


def _as_option(remedy: Remedy) -> str:
    value = "" if remedy.value in (True, None) else f" {shlex.quote(str(remedy.value))}"
    return f"--{remedy.name.replace('_', '-')}{value} {remedy.effect}"


def split_list(text: str) -> tuple[str, ...]:
    """Splits the value of --invariance-kinds at its commas.

    Example:
        >>> split_list("permutation, scaling")
        ('permutation', 'scaling')
    """
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())
