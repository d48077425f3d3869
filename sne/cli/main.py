"""The `sne` command: its subcommands, and what a user's mistake looks like."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sne import __version__
from sne.cli.encode import encode
from sne.cli.evaluate import evaluate
from sne.cli.inspect import inspect
from sne.cli.predict import predict
from sne.cli.study import study
from sne.cli.train import train
from sne.cli.zoo import app as zoo

USER_ERRORS = {
    "sne.errors": "SneError",
    "sne.checkpoints": "CheckpointError",
    "sne.zoo": "ZooError",
    "sne.predictors": "PredictorError",
    "sne.training": "TrainingError",
    "sne.lab.studies": "StudyError",
}
"""Rooms and the errors they raise about what a user gave. Looked up only where the room is loaded."""

EXAMPLES = {
    inspect: "sne inspect model.safetensors",
    encode: "sne encode checkpoints/*.pt --predictor my_predictor --out embeddings.parquet",
    predict: "sne predict checkpoints/*.pt --predictor my_predictor",
    train: "sne train my_zoo --target test_accuracy --out my_predictor",
    evaluate: "sne evaluate my_predictor my_zoo --split test",
    study: "sne study cross-dataset --scale ci --out cross-dataset",
}
"""The commands, and what their help ends with."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, example in EXAMPLES.items():
    # \b keeps click from breaking the line, so that it can be copied
    app.command(no_args_is_help=True, epilog=f"\b\nExample: {example}")(command)
app.add_typer(zoo, name="zoo")


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"sne {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Read neural networks by their weights alone: encode, compare and predict properties of checkpoints."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits.

    Args:
        arguments: of the command line; None: those of this process.
    """
    try:
        app(args=None if arguments is None else list(arguments))
    except Exception as error:
        if not is_user_error(error):
            raise
        print(f"sne: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def is_user_error(error: Exception) -> bool:
    """Whether an error is about what the user gave: one line is all they need."""
    kinds = [getattr(sys.modules[room], name) for room, name in USER_ERRORS.items() if room in sys.modules]
    return isinstance(error, (*kinds, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError))


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
