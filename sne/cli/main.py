"""The `sne` command: its subcommands, its global options, and how errors are shown."""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sne import __version__
from sne.cli.card import card
from sne.cli.check import check
from sne.cli.compare import compare
from sne.cli.encode import encode
from sne.cli.evaluate import COLUMNS, evaluate
from sne.cli.index import index
from sne.cli.inspect import inspect
from sne.cli.lineage import lineage
from sne.cli.map import map as map_command
from sne.cli.options import Command, knows_its_options, told
from sne.cli.predict import predict
from sne.cli.search import search
from sne.cli.study import study
from sne.cli.tables import printable
from sne.cli.train import train
from sne.cli.watch import watch
from sne.cli.zoo import app as zoo
from sne.errors import SneError

log = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error")
GLOBAL_OPTIONS = ("--log-level", "--verbose", "-v", "--version")
STOPPED = 130
"""Exit status of a command that Ctrl-C has stopped, as in shells."""

EXAMPLES = {
    inspect: "sne inspect model.safetensors",
    encode: "sne encode checkpoints/*.pt --predictor my_predictor --out embeddings.parquet",
    predict: "sne predict checkpoints/*.pt --predictor my_predictor",
    card: "sne card model.safetensors --out card.html",
    check: "sne check checkpoints/ --junit health.xml",
    watch: "sne watch checkpoints/",
    compare: "sne compare original.safetensors downloaded.safetensors",
    index: "sne index checkpoints/ --out my_index",
    search: "sne search downloaded.safetensors --index my_index",
    lineage: "sne lineage checkpoints/",
    map_command: "sne map my_zoo --out map.html",
    train: "sne train my_zoo --target test_accuracy --out my_predictor",
    evaluate: "sne evaluate my_predictor my_zoo --split test",
    study: "sne study cross-dataset --scale ci --out cross-dataset",
}
"""The commands, and the example at the end of their help."""
TEXT_BEFORE_EXAMPLE = {evaluate: COLUMNS}
"""Text between the options and the example."""

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of errors in the use of a command; typer does not export it, and its module depends on the version."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="\b\nExample: sne zoo make my_zoo --family small_cnn,mlp --networks 30",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, example in EXAMPLES.items():
    # \b keeps click from breaking the line, so that it can be copied
    epilog = f"{TEXT_BEFORE_EXAMPLE.get(command, '')}\n\b\nExample: {example}"
    app.command(cls=Command, no_args_is_help=command is not study, epilog=epilog)(knows_its_options(command))
app.add_typer(zoo, name="zoo")


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"sne {__version__}")
        raise typer.Exit


@app.callback()
def options(
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help=f"Log messages of this level and above to stderr: {', '.join(LEVELS)}.")
    ] = "warning",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Short for --log-level info.")] = False,
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = None,
) -> None:
    """Read neural networks by their weights alone.

    sne opens checkpoints of any architecture, encodes each as one vector, and predicts properties of the network, such
    as its test accuracy. It learns them from a zoo: networks whose properties have been measured.
    """
    if log_level not in LEVELS:
        raise SneError(f"--log-level is {log_level!r}, expected one of {', '.join(LEVELS)}")
    _log_to_stderr(min(logging.INFO, _level(log_level)) if verbose else _level(log_level))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and exits: with status 0, or with status 2 and one line on stderr for a user's mistake.

    Args:
        arguments: Arguments of the command line; None: the arguments of this process.
    """
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="sne", standalone_mode=False)
    except typer.Abort:
        status = STOPPED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            sys.exit(2)
        line = describe_error(error)
        if line is None:
            raise
        log.debug("where the error was raised", exc_info=error)
        print(f"sne: {line}", file=sys.stderr)
        sys.exit(2)
    if status == STOPPED:
        print("sne: stopped", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def describe_error(error: Exception) -> str | None:
    """Describes in one line an error that the user can do something about.

    Args:
        error: What a command raised.

    Returns:
        The line; None for an error in sne itself, which deserves its traceback.

    Example:
        >>> describe_error(FileNotFoundError(2, "No such file or directory", "a.pt"))
        'a.pt: no such file or directory'
        >>> describe_error(KeyError("a bug"))
    """
    if isinstance(error, UsageError):
        return _one_line(_describe_usage(error))
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror[0].lower() + error.strerror[1:]
        return _one_line(f"{error.filename}: {reason}" if error.filename else reason)
    if isinstance(error, SneError | OSError):
        return _one_line(told(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return _one_line(f"not enough memory; a smaller --batch-size needs less ({error})")
    return None


def _describe_usage(error: Any) -> str:
    """Describes a mistake in the arguments: what is missing and what it should be, or what is wrong with it."""
    context, parameter = error.ctx, getattr(error, "param", None)
    command = context.command_path if context else "sne"
    if type(error).__name__ == "MissingParameter" and parameter is not None and context:
        if parameter.param_type_name == "argument":
            name = f"argument {parameter.metavar or parameter.name.upper()}"
            ending = context.get_usage()
        else:
            name, ending = f"option {parameter.opts[0]}", f"See {command} --help"
        return f"missing {name}: {parameter.help or 'a value'} {ending}"
    message = error.format_message().rstrip(".")
    if getattr(error, "option_name", None) in GLOBAL_OPTIONS:
        return (
            f"{error.option_name} goes before the command: sne {error.option_name} {command.removeprefix('sne ')} ..."
        )
    return f"{message[:1].lower()}{message[1:]}; see {command} --help"


class _Formatter(logging.Formatter):
    """Escapes control characters in messages, which may hold names from files."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a message like `logging.Formatter`."""
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


def _level(name: str) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def _log_to_stderr(level: int) -> None:
    """Prints the log messages of sne, and of no other library, to the stderr of this moment."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("sne")
    logger.handlers = [handler]
    logger.setLevel(level)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


if __name__ == "__main__":
    main()
