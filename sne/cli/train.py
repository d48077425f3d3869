"""`sne train`: a predictor learns from a zoo."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.options import Device, split_list
from sne.cli.progress import stopped_by_user
from sne.cli.tables import describe_copies, format_table, warn

if TYPE_CHECKING:
    from sne.predictors import Predictor
    from sne.training import TrainingSettings


Targets = Annotated[
    list[str],
    typer.Option(
        metavar="COLUMN", show_default=False, help="Property to predict, a column of the zoo; can be repeated."
    ),
]
PredictorOut = Annotated[Path, typer.Option(metavar="FOLDER", show_default=False, help="Folder for the predictor.")]
Preset = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Encoder and training settings: default, or paper (as in the paper, slower). With -canonical "
        "appended, scalings and sign flips of neurons are undone before weights are read.",
    ),
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", help="Passes over the training networks. [default: 60; paper: 25]")
]
TrainingBatchSize = Annotated[
    int | None, typer.Option(metavar="N", help="Number of networks per batch. [default: 64; paper: 32]")
]
LearningRate = Annotated[
    float | None, typer.Option(metavar="X", help="Peak learning rate of AdamW. [default: 0.002; paper: 0.001]")
]
Experts = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Experts to train, separated by commas: neural, forest, boosting, linear, kernel, adapted, "
        "within_family. Networks that were held out decide the weight of each. adapted uses the --start, and joins "
        "the others if there is one. "
        "[default: neural,forest,kernel,within_family; paper: neural]",
    ),
]
StartFrom = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="FOLDER",
        help="Predictor to start from: with few labels, what it knows of other networks is worth more than they are. "
        "packaged: the one that comes with sne, for up to 1000 networks, or any number with --experts adapted; none: "
        "start from nothing.",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of folds of the runs; each expert is trained once per fold, without its runs. With 1, the "
        "validation runs of the split are held out. [default: 5; paper: 1]",
    ),
]
Trees = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of trees of the expert forest, per property and fold; the forest of the "
        "predictor, which learns from all networks, has twice as many. [default: 100]",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of epochs without a better validation score before training stops; 0: never. "
        "[default: 0; paper: 10]",
    ),
]
Accumulation = Annotated[
    int | None, typer.Option(metavar="N", help="Number of batches per optimiser step. [default: 1]")
]
Precision = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="float32, bfloat16, or auto: bfloat16 on CUDA only. [default: auto]"),
]
Invariance = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Weight of a loss that makes predictions equal for networks that compute the same function; 0: none. "
        "[default: 0]",
    ),
]
InvarianceKinds = Annotated[
    str | None,
    typer.Option(
        metavar="KINDS",
        help="Transformations for --invariance and --augment, separated by commas: permutation, scaling, sign, "
        "mixing. [default: permutation]",
    ),
]
InvarianceDraws = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of transformed copies per network and step. [default: 1]"),
]
Augment = Annotated[
    bool,
    typer.Option(
        "--augment", help="Train on transformed copies of the networks, with --invariance on networks and copies."
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Random seed for initialisation, shuffling, folds and, if the zoo has no split.json, the split.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the training that was interrupted in the folder --out.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the predictor in the folder --out.")]
ShowProgress = Annotated[
    bool | None,
    typer.Option("--progress/--quiet", help="Show a progress bar on stderr. [default: if it is a terminal]"),
]


def train(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of the zoo.")],
    target: Targets,
    out: PredictorOut,
    preset: Preset = "default",
    epochs: Epochs = None,
    batch_size: TrainingBatchSize = None,
    learning_rate: LearningRate = None,
    experts: Experts = None,
    start: StartFrom = "packaged",
    folds: Folds = None,
    trees: Trees = None,
    patience: Patience = None,
    accumulation: Accumulation = None,
    precision: Precision = None,
    invariance: Invariance = None,
    invariance_kinds: InvarianceKinds = None,
    invariance_draws: InvarianceDraws = None,
    augment: Augment = False,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
    progress: ShowProgress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the validation figures as one JSON line.")] = False,
) -> None:
    """Train a predictor on a zoo.

    On several GPUs: torchrun --nproc-per-node 4 -m sne train ZOO ... ; each process computes its share of every batch,
    and the first one writes the predictor and prints.

    The zoo's split.json says which training runs are used for training, validation and test; without it, runs are drawn
    at random. Networks of test runs are never read. With up to 1000 networks, training starts from the packaged
    predictor where that is possible (--start). Prints how well networks that were held out are predicted (the
    columns are explained by sne evaluate --help), and the commands to run next.
    """
    from sne.work import check_can_write_folder

    check_can_write_folder(out)
    from sne.training import fit, is_first_process
    from sne.zoo import Zoo

    settings = _settings(
        preset, seed, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, experts=experts,
        folds=folds, trees=trees, patience=patience, accumulation=accumulation, precision=precision,
        invariance=invariance, invariance_kinds=invariance_kinds, invariance_draws=invariance_draws,
        augment=augment or None,
    )  # fmt: skip
    networks = Zoo.open(zoo)
    with stopped_by_user(out, option="--resume"):
        predictor = fit(
            networks, target, encoder=preset, settings=settings, start=None if start == "none" else start,
            device=device, out=out, resume=resume, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    if not is_first_process():
        return
    _warn_of_networks_without_copies(predictor)
    _warn_of_few_networks(predictor)
    if as_json:
        print(json.dumps({"predictor": str(out), **_figures(predictor)}))
    else:
        _print_figures(predictor)
        _print_next_commands(zoo, out, has_test_runs=bool(predictor.split and predictor.split.test))


def _settings(preset: str, seed: int, **given: Any) -> "TrainingSettings":
    """Returns the settings of a preset with those that are given as options; None for an option that is not."""
    from sne.training import preset_settings

    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen.keys() & {"experts", "invariance_kinds"}:
        chosen[name] = split_list(chosen[name])
    return preset_settings(preset, seed=seed, **chosen)


def _figures(predictor: "Predictor") -> dict[str, Any]:
    """Returns the figures for programs."""
    metrics, record = predictor.metrics, predictor.record
    return {
        "validation": metrics["validation"],
        "weights": {kind: expert["weights"] for kind, expert in metrics["experts"].items()},
        "invariance": metrics["invariance"],
        "start": {**record["start"], "kendall_tau": metrics.get("start", {})},
        "seconds": record["seconds"],
    }


def _warn_of_networks_without_copies(predictor: "Predictor") -> None:
    symmetry = predictor.record.get("symmetry", {})
    if symmetry:
        warn(
            f"copies by {' and '.join(symmetry['kinds'])} were drawn of {symmetry['copied']} networks, not of "
            f"{symmetry['unmoved']} that this encoder cannot tell from their copies, nor of {symmetry['unknown']} "
            "whose symmetry is unknown"
        )


def _warn_of_few_networks(predictor: "Predictor") -> None:
    from sne.predictors import EXPERTS
    from sne.predictors.domain import LEAST_CALIBRATION
    from sne.predictors.intervals import LEAST_RUNS

    missing = []
    count, settings = predictor.record["runs"], predictor.record["settings"]
    could_know = settings["folds"] > 1 and any(EXPERTS[kind].reads_description for kind in settings["experts"])
    if could_know and predictor.domain is None and count < LEAST_CALIBRATION:
        missing.append(
            f"no remark on unknown networks, which takes {LEAST_CALIBRATION} training and validation runs (it has "
            f"{count})"
        )
    names = [p.name for p in predictor.properties if p.kind != "class" and p.name not in predictor.intervals]
    if names:
        missing.append(
            f"no interval of {' and '.join(names)}, which takes labels of {LEAST_RUNS} runs that are held out"
        )
    if missing:
        warn(f"the zoo is small: sne predict will give {', and '.join(missing)}")


def _print_figures(predictor: "Predictor") -> None:
    metrics = predictor.metrics
    left_out = ("coverage", "mean_width")
    rows = [
        {"property": name, **{key: value for key, value in figures.items() if key not in left_out}}
        for name, figures in metrics["validation"].items()
    ]
    print(f"validation, {'out of fold' if predictor.record['settings']['folds'] > 1 else 'best epoch'}:")
    print(format_table(rows))
    print()
    print("experts alone, with their weights in the prediction:")
    print(format_table(_expert_rows(metrics)))
    print()
    print(_describe_start(predictor))
    if predictor.embeds_description:
        warn("no neural expert takes part: sne encode will give descriptions of networks, not embeddings")
    moved = metrics["invariance"]
    if moved["n"]:
        print()
        print(describe_copies(moved) + ":")
        print(format_table([{"property": name, **figures} for name, figures in moved["properties"].items()]))


def _describe_start(predictor: "Predictor") -> str:
    """Says what training started from, what that alone was worth, and how weights were chosen with it."""
    from sne.training.weighing import WITH_START

    start = predictor.record["start"]
    if start["predictor"] is None:
        return f"started from nothing: {start['reason']}"
    alone = predictor.metrics["start"]
    sources = [
        f"{name} from its forest of {source}"
        + (f", which alone ranks these networks with kendall_tau {alone[name]:.3f}" if name in alone else "")
        for name, source in start["sources"].items()
    ]
    lines = [f"started from {start['predictor']}:", *(f"  {source}" for source in sources)]
    usual = " and ".join(f"{weight:g} of {kind}" for kind, weight in WITH_START.items())
    lines.append(f"with few labels, the weights stay near {usual}, because chosen weights are noisy")
    return "\n".join(lines)


def _expert_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name in metrics["validation"]:
        for kind, expert in metrics["experts"].items():
            figures = expert["validation"][name]
            metric = "accuracy" if "accuracy" in figures else "kendall_tau"
            rows.append({"property": name, "expert": kind, "weight": expert["weights"][name], metric: figures[metric]})
    return rows


def _print_next_commands(zoo: Path, out: Path, *, has_test_runs: bool) -> None:
    from sne.predictors import packaged_predictors

    folder = shlex.quote(f"./{out}" if str(out) in packaged_predictors() else str(out))
    piece = "test" if has_test_runs else "all"
    print()
    print(f"predictor in {out}; next:")
    print(f"  sne evaluate {folder} {shlex.quote(str(zoo))} --split {piece}")
    print(f"  sne predict CHECKPOINT... --predictor {folder}")
    print(f"  sne encode CHECKPOINT... --predictor {folder} --out embeddings.parquet")
