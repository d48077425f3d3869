"""`sne train`: a predictor from a zoo."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sne.cli.kinds import describe_copies, split_kinds
from sne.cli.tables import format_table


def train(
    zoo: Annotated[Path, typer.Argument(help="Folder of the zoo.")],
    target: Annotated[list[str], typer.Option(help="A property to predict; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder for the predictor.")],
    preset: Annotated[
        str,
        typer.Option(
            help="default, or paper (faithful to it); -canonical behind it undoes scalings and sign flips first."
        ),
    ] = "default",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training networks.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Networks a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak.")] = None,
    members: Annotated[
        int | None, typer.Option(help="Predictors to average; above 1, each leaves out one fold of the runs.")
    ] = None,
    trees: Annotated[
        int | None, typer.Option(help="Trees of each member beside its encoder, of presets default*; 0 for none.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without gain before stopping; 0: never.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Batches whose gradients make one step.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    invariance: Annotated[
        float | None, typer.Option(help="Weight of the term for equal predictions on transformed copies; 0 for none.")
    ] = None,
    invariance_kinds: Annotated[
        str | None, typer.Option(help="How copies are drawn: permutation, scaling, sign, mixing, or several.")
    ] = None,
    invariance_draws: Annotated[int | None, typer.Option(help="Copies of each network and step.")] = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment",
            help="Learn from transformed copies: in place of the networks, or beside them with --invariance.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of initial values, order, folds and, without split.json, split.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that OUT holds.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the predictor that OUT holds.")] = False,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--quiet", help="Progress bar on stderr. [default: on terminals]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the validation figures as one JSON line.")] = False,
) -> None:
    """Train a predictor on a zoo.

    The zoo's split.json says which runs are for training and validation; without one, runs are drawn.
    """
    from sne.predictors import Predictor
    from sne.training import check_same_training, fit, is_finished, preset_settings
    from sne.zoo import Zoo, split_by_run

    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "members": members,
        "trees": trees,
        "patience": patience,
        "accumulation": accumulation,
        "precision": precision,
        "invariance": invariance,
        "invariance_kinds": None if invariance_kinds is None else split_kinds(invariance_kinds),
        "invariance_draws": invariance_draws,
        "augment": augment or None,
    }
    settings = preset_settings(preset, seed=seed, **{name: value for name, value in given.items() if value is not None})
    opened = Zoo.open(zoo)
    if resume and is_finished(out):
        predictor = Predictor.load(out)
        check_same_training(predictor, opened, target, preset, settings)
    else:
        predictor = fit(
            opened,
            target,
            split=opened.split or split_by_run(opened.runs, seed=seed, families=opened.families, groups=opened.groups),
            encoder=preset,
            settings=settings,
            device=device,
            out=out,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    symmetry = predictor.record.get("symmetry", {})
    if symmetry:
        print(
            f"sne: copies by {' and '.join(symmetry['kinds'])} were drawn of {symmetry['copied']} networks, not of "
            f"{symmetry['unmoved']} that this encoder cannot tell from their copies, nor of {symmetry['unknown']} of "
            "unknown symmetry",
            file=sys.stderr,
        )
    validation = predictor.metrics["validation"]
    if as_json:
        seconds = predictor.record.get("seconds")
        moved = predictor.metrics.get("invariance")
        print(json.dumps({"predictor": str(out), "validation": validation, "invariance": moved, "seconds": seconds}))
        return
    rows = [
        {"property": name, **{key: value for key, value in figures.items() if key != "coverage"}}
        for name, figures in validation.items()
    ]
    print(f"validation, {'out of fold' if len(predictor.members) > 1 else 'best epoch'}:")
    print(format_table(rows))
    moved = predictor.metrics.get("invariance", {})
    if moved.get("n"):
        print()
        print(describe_copies(moved) + ":")
        print(format_table([{"property": name, **figures} for name, figures in moved["properties"].items()]))
