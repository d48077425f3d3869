"""`sne zoo`: make, import, export and inspect zoos; one file per subcommand."""

import typer

from sne.cli.options import Command, knows_its_options
from sne.cli.zoo.append import append
from sne.cli.zoo.export import export
from sne.cli.zoo.import_ import EXAMPLE_CSV, import_
from sne.cli.zoo.info import info
from sne.cli.zoo.make import make
from sne.cli.zoo.merge import merge
from sne.cli.zoo.recipe import recipe
from sne.cli.zoo.verify import verify

EXAMPLES = {
    "make": (make, "sne zoo make my_zoo --family small_cnn,mlp --networks 30"),
    "recipe": (recipe, "sne zoo recipe small_cnn mlp > my_recipe.toml"),
    "import": (import_, "sne zoo import folder my_checkpoints my_zoo"),
    "export": (export, "sne zoo export folder my_zoo my_checkpoints"),
    "info": (info, "sne zoo info my_zoo"),
    "verify": (verify, "sne zoo verify my_zoo"),
    "merge": (merge, "sne zoo merge both my_zoo another_zoo"),
    "append": (append, "sne zoo append my_zoo another_zoo"),
}
"""The subcommands, and the example at the end of their help."""

TEXT_BEFORE_EXAMPLE = {import_: EXAMPLE_CSV}
"""Text between the options and the example."""

app = typer.Typer(no_args_is_help=True, help="Make, import, export and inspect zoos of trained networks.")
for name, (command, example) in EXAMPLES.items():
    # \b keeps click from breaking the line, so that it can be copied
    epilog = f"{TEXT_BEFORE_EXAMPLE.get(command, '')}\n\b\nExample: {example}"
    app.command(name, cls=Command, no_args_is_help=True, epilog=epilog)(knows_its_options(command))
