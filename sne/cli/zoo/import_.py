"""`sne zoo import`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import zoo_progress
from sne.cli.tables import warn
from sne.cli.zoo.summary import format_columns, print_summary

Form = Annotated[
    str,
    typer.Argument(
        metavar="FORMAT",
        help="folder: checkpoints of your own and a CSV. hugging-face: folders of models with their cards, or a "
        "hub cache. small-cnn-zoo, schuerholt, sine-inr, small-transformer-zoo: zoos as they were published.",
    ),
]
Source = Annotated[
    Path | None,
    typer.Argument(metavar="SOURCE", help="Folder to import; or its CSV (format folder), or its split (sine-inr)."),
]
Out = Annotated[Path | None, typer.Argument(metavar="OUT", help="Folder of the new zoo.")]
PathColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the CSV with the file names of the checkpoints, relative to the CSV. "
        "[default: path, or else the column whose entries are files]",
    ),
]
RunColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column that groups the checkpoints of one training run. [default: run]"),
]
Properties = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        metavar="COLUMN",
        help="Column that is a property; can be repeated. If given, columns without another role are left out. "
        "[default: all columns without another role]",
    ),
]
Hyperparameters = Annotated[
    list[str] | None,
    typer.Option(
        "--hyperparameter",
        metavar="COLUMN",
        help="Column that is a hyper-parameter, stored as config.COLUMN; can be repeated. Columns called config.* "
        "are hyper-parameters without it.",
    ),
]
Dataset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Data set of the networks, used where the source names none.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out checkpoints that cannot be read, instead of stopping.")
]
Storage = Annotated[str, typer.Option(metavar="TYPE", help="Type of the stored weights: float32, float16 or bfloat16.")]
EXAMPLE_CSV = """\b
A CSV for the format folder:
  path,run,step,test_accuracy,config.learning_rate
  a/100.pt,a,100,0.91,0.001
  a/200.pt,a,200,0.94,0.001
  b/200.pt,b,200,0.87,0.01
"""
"""Example of a CSV, for the end of the command's help."""

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")]


def import_(
    form: Form,
    source: Source = None,
    out: Out = None,
    path_column: PathColumn = None,
    run_column: RunColumn = None,
    properties: Properties = None,
    hyperparameters: Hyperparameters = None,
    dataset: Dataset = None,
    skip_bad: SkipBad = False,
    storage: Storage = "float32",
    as_json: AsJson = False,
) -> None:
    """Import networks that were trained elsewhere into a new zoo.

    For folder, the CSV has one row per checkpoint. The column path names its file; run, family, dataset, step and id
    may be there and have these meanings. Checkpoints of one run are never on two sides of a split. Columns called
    config.*, such as config.learning_rate, are hyper-parameters, all others properties. Empty cells are missing values.
    """
    from sne.zoo import import_zoo

    if source is None or out is None:
        raise _argument_missing(form)
    with zoo_progress("networks") as progress:
        made = import_zoo(
            form,
            source,
            out,
            dataset=dataset,
            path_column=path_column,
            run_column=run_column,
            properties=properties or (),
            hyperparameters=hyperparameters or (),
            skip_bad=skip_bad,
            storage=storage,
            report=warn,
            on_columns=lambda columns: print(format_columns(columns), file=sys.stderr),
            progress=progress,
        )
    print_summary(made, as_json, is_new=True)


def _argument_missing(form: str) -> Exception:
    from sne.zoo import FORMATS, ZooError

    example = "sne zoo import folder my_checkpoints my_zoo"
    if form in FORMATS:
        return ZooError(f"expected SOURCE and OUT after {form!r}, such as: {example}")
    formats = ", ".join(FORMATS)
    return ZooError(f"the first argument is the format, one of {formats}; got {form!r}. Example: {example}")
