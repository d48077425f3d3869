"""`sne evaluate`: a predictor beside the baselines, on the same networks."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.kinds import describe_copies, split_kinds
from sne.cli.tables import format_table

if TYPE_CHECKING:
    from sne.predictors import Predictor
    from sne.training import Evaluation
    from sne.zoo import Split, Zoo


def evaluate(
    predictor: Annotated[Path, typer.Argument(help="Folder of the predictor.")],
    zoo: Annotated[Path, typer.Argument(help="Folder of the zoo.")],
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test or all. [default: test on the zoo it was trained on, else all]"),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Fit the baselines on the predictor's training zoo.")] = True,
    invariance_kinds: Annotated[
        str | None,
        typer.Option(help="For the invariance error: permutation, scaling, sign, mixing. [default: as it was trained]"),
    ] = None,
    invariance_draws: Annotated[
        int, typer.Option(min=0, help="Transformed copies of each network for the invariance error; 0 for none.")
    ] = 1,
    by: Annotated[str | None, typer.Option(help="Figures for each value of a column: family, dataset, ...")] = None,
    table: Annotated[bool, typer.Option("--table", help="Print prediction and measurement of each network.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a scatter to this .html file.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Networks at a time.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one is the summary.")] = False,
) -> None:
    """Measure a predictor beside the baselines."""
    from sne import training
    from sne.predictors import Predictor, choose_device
    from sne.zoo import Zoo

    if plot is not None and plot.suffix != ".html":
        raise typer.BadParameter(f"{plot}: expected a name that ends in .html", param_hint="--plot")
    loaded, opened = Predictor.load(predictor).to(choose_device(device)), Zoo.open(zoo)
    own_split = _own_split(predictor)
    rows, piece, seen = training.rows_to_evaluate(loaded, own_split, opened, split)
    groups = None if by is None else opened.column(by)[rows]
    if seen:
        _warn(f"{seen} of {len(rows)} networks were used for training or validation: not a held-out figure")
    source = _baseline_zoo(loaded, own_split, opened) if baselines else None
    twins = None
    if source is not None and own_split is not None:
        twins = training.count_twins(opened, rows, source, own_split)
    if twins:
        _warn(
            f"{twins} of {len(rows)} networks are twins of networks that were learned from: same number and "
            f"hyper-parameters, other images{'; --split test judges the others' if piece == 'all' else ''}"
        )
    trained_with = loaded.record.get("settings", {}).get("invariance_kinds", ["permutation"])
    evaluations = training.evaluate(
        loaded,
        opened,
        rows,
        training_zoo=source,
        training_split=own_split,
        batch_size=batch_size,
        invariance_kinds=trained_with if invariance_kinds is None else split_kinds(invariance_kinds),
        invariance_draws=invariance_draws,
    )
    for evaluation in evaluations:
        for method, reason in evaluation.failures.items():
            _warn(f"{evaluation.property.name}: baseline {method} cannot be applied: {reason}")
        if as_json:
            _print_json_lines(evaluation, table, groups)
        else:
            _print_tables(evaluation, table, groups, by, piece)
    if plot is not None:
        from sne.cli.scatter import write_scatter

        families = {opened.ids[row]: str(opened.families[row]) for row in rows}
        write_scatter(evaluations, plot, families=families)
    if as_json:
        summary = {"predictor": str(predictor), "zoo": str(zoo), "split": piece, "n": len(rows)}
        summary |= {"seen": seen, "twins": twins}
        drawn = evaluations[0].invariance
        summary["invariance"] = None if drawn is None else drawn.to_json()
        figures = {evaluation.property.name: evaluation.figures() for evaluation in evaluations}
        print(json.dumps({**summary, "properties": figures}))
    else:
        for evaluation in evaluations:
            print(_closing_line(evaluation, len(evaluations) > 1))


def _own_split(predictor: Path) -> "Split | None":
    from sne.zoo import Split

    path = predictor / "split.json"
    return Split.load(path) if path.is_file() else None


def _baseline_zoo(predictor: "Predictor", own_split: "Split | None", zoo: "Zoo") -> "Zoo | None":
    """The zoo the predictor was trained on, where it can still be found."""
    from sne.training import is_training_zoo
    from sne.zoo import Zoo, ZooError

    if own_split is None:
        _warn("no baselines: the predictor has no split.json")
        return None
    if is_training_zoo(predictor, zoo):
        return zoo
    place = predictor.record.get("zoo", "")
    try:
        recorded = Zoo.open(place)
        if is_training_zoo(predictor, recorded):
            return recorded
        _warn(f"no baselines: {place} is not the zoo that the predictor was trained on any more")
    except (ZooError, OSError):
        _warn(f"no baselines: the training zoo {place} is not there")
    return None


def _print_tables(evaluation: "Evaluation", table: bool, groups: Any, by: str | None, piece: str) -> None:
    name = evaluation.property.name
    if table:
        rows = sorted(evaluation.table(), key=lambda row: (str(row["measured"]), row["id"]))
        if evaluation.property.kind != "class":
            rows.sort(key=lambda row: -row["measured"])
        print(f"{name}, predicted and measured:")
        print(format_table(rows))
        print()
    print(f"{name}, split {piece}:")
    print(format_table([{"method": method, **figures} for method, figures in evaluation.figures().items()]))
    if evaluation.invariance is not None and evaluation.invariance.num_networks:
        print(describe_copies(evaluation.invariance.to_json()))
    print()
    if groups is not None:
        print(f"{name}, by {by}:")
        lines = [
            {str(by): group, "method": method, **figures}
            for group, methods in evaluation.figures_by(groups).items()
            for method, figures in methods.items()
        ]
        print(format_table(lines))
        print()


def _print_json_lines(evaluation: "Evaluation", table: bool, groups: Any) -> None:
    name = evaluation.property.name
    for row in evaluation.table() if table else []:
        print(json.dumps({"property": name, **row}))
    for group, methods in evaluation.figures_by(groups).items() if groups is not None else ():
        for method, figures in methods.items():
            print(json.dumps({"property": name, "group": group, "method": method, **figures}))


def _closing_line(evaluation: "Evaluation", is_one_of_several: bool) -> str:
    figures = dict(evaluation.figures())
    own = figures.pop("sne")
    metric = "accuracy" if evaluation.property.kind == "class" else "kendall_tau"
    short = "accuracy" if metric == "accuracy" else "tau"
    others = [value for beside in figures.values() if (value := beside[metric]) is not None]
    parts = [f"property={evaluation.property.name}"] if is_one_of_several else []
    parts.append(f"{metric}={_number(own[metric])}")
    if others:
        parts.append(f"baseline_{short}={_number(max(others))}")
    return " ".join([*parts, f"n={own['n']}"])


def _number(value: float | int | None) -> str:
    return "nan" if value is None else f"{value:.4f}"


def _warn(text: str) -> None:
    print(f"sne: {' '.join(text.split())}", file=sys.stderr)
