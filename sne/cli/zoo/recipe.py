"""`sne zoo recipe`."""

from typing import Annotated

import typer


def recipe(
    family: Annotated[list[str], typer.Argument(help="Families, as small_cnn mlp; see sne zoo make.")],
) -> None:
    """Print the recipe that families have of themselves: TOML to edit and give to sne zoo make --recipe."""
    from sne.making.recipe_file import write_recipe

    print(write_recipe([name.strip() for name in ",".join(family).split(",")]), end="")
