"""`sne evaluate`: a predictor and the baselines, measured on the same networks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.options import BatchSize, Device, split_list
from sne.cli.tables import cell, describe_copies, format_table, say, warn

if TYPE_CHECKING:
    from sne.training import PropertyEvaluation


EvaluatedSplit = Annotated[
    str | None,
    typer.Option(
        metavar="SPLIT",
        help="Networks to measure on: train, val, test or all. [default: test on the zoo that the predictor was "
        "trained on, all on any other zoo]",
    ),
]
Baselines = Annotated[bool, typer.Option(help="Fit baselines on the zoo that the predictor was trained on.")]
InvarianceKinds = Annotated[
    str | None,
    typer.Option(
        metavar="KINDS",
        help="Transformations for the invariance columns, separated by commas: permutation, scaling, sign, mixing. "
        "[default: as in training]",
    ),
]
InvarianceDraws = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of transformed copies per network for the invariance columns; 0 omits them.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Also print one row per value of a column of the zoo: family, dataset, ..."),
]
Table = Annotated[
    bool, typer.Option("--table", help="Also print the measured and the predicted value of each network.")
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a scatter plot, predicted against measured, to this .html file."),
]

COLUMNS = """\b
Rows:
  sne                  the predictor
  mean                 training mean, or the most frequent class
  hyperparameters      boosting on the recorded hyper-parameters; reads no
                       weights
  statistics_boosting  boosting on statistics of the weights
  statistics_mlp       perceptron on statistics of the weights

\b
Columns:
  kendall_tau       rank agreement of predicted and measured values (tau-b),
                    from -1 to 1; 0 is chance
  tau_ceiling       largest possible tau: below 1 if measured values are tied
  r2                share of the variance that is explained; 1 is perfect,
                    0 is as good as the mean of these networks
  mae               mean absolute error, in the unit of the property
  coverage          share of measured values inside the 90% intervals
  mean_width        mean width of these intervals, in the unit of the property
  accuracy          share of correct classes, for properties that are classes
  n                 number of networks whose property was measured
  invariance_error  mean squared change, divided by 2, of the outputs of the
                    heads (before sigmoid, softmax or scale) when neurons are
                    permuted or otherwise changed without changing what the
                    network computes; 0 is invariant
  value_change      mean absolute change of the predicted value on the same
                    copies; for classes the share of copies that change class
"""
"""Explanations of the tables, for the end of the command's help."""


def evaluate(
    predictor: Annotated[
        str, typer.Argument(metavar="PREDICTOR", help="Folder of the predictor, or name of a packaged one.")
    ],
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of the zoo.")],
    split: EvaluatedSplit = None,
    baselines: Baselines = True,
    invariance_kinds: InvarianceKinds = None,
    invariance_draws: InvarianceDraws = 1,
    by: By = None,
    table: Table = False,
    plot: Plot = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines; the last line is the summary.")] = False,
) -> None:
    """Measure a predictor and the baselines on the same networks.

    Prints one row per method; rows and columns are explained below. The last line repeats the main figure of the
    predictor and that of the best baseline.
    """
    from sne import training
    from sne.cli.scatter import check_can_plot, write_scatter
    from sne.predictors import Predictor, choose_device
    from sne.zoo import Zoo

    loaded, opened = Predictor.from_pretrained(predictor).to(choose_device(device)), Zoo.open(zoo)
    if plot is not None:
        check_can_plot(plot, loaded.properties)
    if by is not None:
        opened.column(by)  # an unknown column is an error before the work
    found = training.evaluate(
        loaded,
        opened,
        split=split,
        baselines=baselines,
        invariance_kinds=None if invariance_kinds is None else split_list(invariance_kinds),
        invariance_draws=invariance_draws,
        batch_size=batch_size,
    )
    for warning in found.warnings:
        warn(warning)
    groups = None if by is None else opened.column(by)[found.rows]
    for evaluation in found.properties:
        if as_json:
            _print_json_lines(evaluation, table, groups)
        else:
            _print_tables(evaluation, table, groups, by, found.split)
    if plot is not None:
        families = {opened.ids[row]: str(opened.families[row]) for row in found.rows}
        write_scatter(found.properties, plot, families=families)
    if as_json:
        drawn = found.properties[0].invariance
        summary = {"predictor": str(predictor), "zoo": str(zoo), "split": found.split, "n": len(found.rows)}
        summary |= {"seen": found.num_seen, "twins": found.num_twins}
        summary["invariance"] = None if drawn is None else drawn.to_json()
        figures = {evaluation.property.name: evaluation.figures() for evaluation in found.properties}
        print(json.dumps({**summary, "properties": figures}))
    else:
        for evaluation in found.properties:
            say(_closing_line(evaluation, len(found.properties) > 1))


def _print_tables(evaluation: "PropertyEvaluation", table: bool, groups: Any, by: str | None, piece: str) -> None:
    name = evaluation.property.name
    if table:
        rows = sorted(evaluation.table(), key=lambda row: (str(row["measured"]), row["id"]))
        if evaluation.property.kind != "class":
            rows.sort(key=lambda row: -row["measured"])
        say(f"{name}, predicted and measured:")
        say(format_table(rows))
        say()
    say(f"{name}, split {piece}:")
    say(format_table([{"method": method, **figures} for method, figures in evaluation.figures().items()]))
    if evaluation.invariance is not None and evaluation.invariance.num_networks:
        say(describe_copies(evaluation.invariance.to_json()))
    say()
    if groups is not None:
        say(f"{name}, by {by}:")
        lines = [
            {str(by): group, "method": method, **figures}
            for group, methods in evaluation.figures_by(groups).items()
            for method, figures in methods.items()
        ]
        say(format_table(lines))
        say()


def _print_json_lines(evaluation: "PropertyEvaluation", table: bool, groups: Any) -> None:
    name = evaluation.property.name
    for row in evaluation.table() if table else []:
        print(json.dumps({"property": name, **row}))
    for group, methods in evaluation.figures_by(groups).items() if groups is not None else ():
        for method, figures in methods.items():
            print(json.dumps({"property": name, "group": group, "method": method, **figures}))


def _closing_line(evaluation: "PropertyEvaluation", is_one_of_several: bool) -> str:
    figures = dict(evaluation.figures())
    own = figures.pop("sne")
    metric = "accuracy" if evaluation.property.kind == "class" else "kendall_tau"
    short = "accuracy" if metric == "accuracy" else "tau"
    others = [value for beside in figures.values() if (value := beside[metric]) is not None]
    parts = [f"property={evaluation.property.name}"] if is_one_of_several else []
    parts.append(f"{metric}={cell(own[metric])}")
    if others:
        parts.append(f"baseline_{short}={cell(max(others))}")
    return " ".join([*parts, f"n={own['n']}"])
