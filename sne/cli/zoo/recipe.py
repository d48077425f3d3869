"""`sne zoo recipe`."""

from typing import Annotated

import typer


def recipe(
    family: Annotated[list[str], typer.Argument(metavar="FAMILY", help="Families, see sne zoo make --help.")],
) -> None:
    """Print the default recipe of some families, as TOML to edit.

    The edited file is given to sne zoo make --recipe.
    """
    from sne.making.recipe_file import write_recipe

    print(write_recipe([name.strip() for name in ",".join(family).split(",")]), end="")
