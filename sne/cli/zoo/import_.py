"""`sne zoo import`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.feedback import disk_errors, zoo_progress
from sne.cli.zoo.summary import print_summary


def import_(
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="folder: checkpoints and a CSV with a column path. hugging-face: folders of models with their cards, "
            "or a hub cache. small-cnn-zoo, schuerholt, sine-inr, small-transformer-zoo: these as published.",
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The folder (of folder also the CSV itself, of sine-inr the split).")],
    out: Annotated[Path, typer.Argument(help="Folder of the new zoo.")],
    dataset: Annotated[str | None, typer.Option(help="What the networks were trained on.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read.")] = False,
    storage: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Bring networks that were trained elsewhere into a zoo."""
    from sne.zoo import import_zoo

    with disk_errors(), zoo_progress("networks") as progress:
        made = import_zoo(
            form,
            source,
            out,
            dataset=dataset,
            skip_bad=skip_bad,
            storage=storage,
            report=lambda line: print(f"sne: {line}", file=sys.stderr),
            progress=progress,
        )
    print_summary(made, as_json)
