"""Writes the folder of the tutorial: training runs, and copies of a network. `python examples/run_folder.py FOLDER`.

Thirty small CNNs learn scikit-learn's digits with hyper-parameters drawn at random. Each is saved three times.
`measured.csv` has the test accuracy of each file. The folder `copies`, beside FOLDER, has files that were made from the
best network. Networks compute in float64 and are stored in float32, so that the files differ little between machines.
"""

import copy
import csv
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

RUNS, STEPS = 30, (20, 100, 300)


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the images, enlarged to 16 x 16 pixels and standardised, and their classes."""
    rows, classes = load_digits(return_X_y=True)
    images = torch.tensor(rows, dtype=torch.float64).view(-1, 1, 8, 8) / 16
    images = nn.functional.interpolate(images, size=16, mode="bilinear")
    return (images - images.mean()) / images.std(), torch.tensor(classes)


def network() -> nn.Sequential:
    """Returns a classifier before training."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).double()  # fmt: skip


def stored(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weights in float32."""
    return {name: values.float() for name, values in model.state_dict().items()}


def train(model: nn.Module, steps: int, learning_rate: float, optimizer: str = "adam") -> None:
    """Trains a classifier on the digits after the first 400."""
    images, classes = digits()
    rule = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    updates = rule(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        batch = torch.randint(400, len(images), (64,))
        updates.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), classes[batch]).backward()
        updates.step()


def accuracy(model: nn.Module) -> float:
    """Returns the accuracy on the first 400 digits."""
    images, classes = digits()
    with torch.inference_mode():
        return (model(images[:400]).argmax(1) == classes[:400]).float().mean().item()


def write_runs(folder: Path) -> nn.Module:
    """Trains and saves all runs; returns the best network."""
    drawn = np.random.default_rng(0)
    best, rows = (0.0, network()), []
    for run in range(RUNS):
        optimizer = str(drawn.choice(["adam", "sgd"]))
        rate = float(10 ** drawn.uniform(-3.5, -1.5)) * (10 if optimizer == "sgd" else 1)
        model, done = network(), 0
        for step in STEPS:
            train(model, step - done, rate, optimizer)
            done = step
            name = f"run-{run:02}/step-{step:03}.pt"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            torch.save(stored(model), folder / name)
            row = {"path": name, "run": run, "step": step, "test_accuracy": round(accuracy(model), 4)}
            rows.append({**row, "config.optimizer": optimizer, "config.learning_rate": f"{rate:.2g}"})
            if rows[-1]["test_accuracy"] > best[0]:
                best = rows[-1]["test_accuracy"], copy.deepcopy(model)
    with (folder / "measured.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return best[1]


def write_copies(folder: Path, original: nn.Module) -> None:
    """Writes what people make of a network: half precision, pruned, trained further, units in another order."""
    folder.mkdir(exist_ok=True)
    state = stored(original)
    tuned, pruned = copy.deepcopy(original), {name: values.clone() for name, values in state.items()}
    train(tuned, 100, 1e-3)
    for name, values in pruned.items():
        if name.endswith("weight"):
            values[values.abs() < values.abs().quantile(0.3)] = 0
    order = torch.randperm(16)
    moved: dict[str, Any] = {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order]}
    files = {
        "original": state,
        "half": {name: values.half() for name, values in state.items()},
        "pruned": pruned,
        "tuned": {f"backbone.{name}": values for name, values in stored(tuned).items()},
        "reordered": {**state, **moved, "2.weight": state["2.weight"][:, order]},
        "stranger": stored(network()),
    }
    for name, values in files.items():
        torch.save(values, folder / f"{name}.pt")


def main() -> None:
    """Writes all files."""
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    write_copies(folder.parent / "copies", write_runs(folder))
    print(f"{RUNS * len(STEPS)} checkpoints in {folder}, copies of one network in {folder.parent / 'copies'}")


if __name__ == "__main__":
    main()
