"""`sne zoo`: make, import and look at zoos; one file a subcommand."""

import typer

from sne.cli.zoo.import_ import import_
from sne.cli.zoo.info import info
from sne.cli.zoo.make import make

EXAMPLES = {
    "make": (make, "sne zoo make my_zoo --family small_cnn,mlp --networks 30"),
    "import": (import_, "sne zoo import folder my_checkpoints my_zoo"),
    "info": (info, "sne zoo info my_zoo"),
}
"""The subcommands, and what their help ends with."""

app = typer.Typer(no_args_is_help=True, help="Make, import and look at zoos of trained networks.")
for name, (command, example) in EXAMPLES.items():
    # \b keeps click from breaking the line, so that it can be copied
    app.command(name, no_args_is_help=True, epilog=f"\b\nExample: {example}")(command)
