"""Measures `sne compare` on independent networks that map a space to itself, and on their permuted children.

    python benchmarks/self_maps.py --work WORK [--seeds 7]

In autoencoders, denoisers, residual blocks and tables of following tokens, the incoming weights of a hidden unit
foretell its outgoing ones, also in independent networks, so that units that match by the first also match by the
second. Networks of each kind are trained on the digits of scikit-learn, `--seeds` of each from other weights and other
batches. Pairs of different seeds are independent; a child is the network at the end of training, with permuted units,
its parent the one after two thirds of it. Networks are kept in WORK; the same command continues.
Writes benchmarks/results/self_maps.json and .md.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from sne import compare, read_network
from sne.provenance.hypotheses import assumed_hypothesis
from sne.symmetry import apply, sample, symmetry_by_name

RESULTS = Path(__file__).parent / "results"
PIXELS = 64
ROTATION = torch.linalg.qr(torch.randn(PIXELS, PIXELS, generator=torch.Generator().manual_seed(5)))[0]
FOLLOWERS = 2 * torch.randn(PIXELS, PIXELS, generator=torch.Generator().manual_seed(3)) + 3 * torch.eye(PIXELS)

State = dict[str, Tensor]


class Residual(nn.Module):
    """Blocks that add what they compute to their input."""

    def __init__(self, blocks: int, *, has_norms: bool) -> None:
        super().__init__()
        norms = [[nn.LayerNorm(PIXELS)] if has_norms else [] for _ in range(blocks)]
        self.layers = nn.ModuleList(
            nn.Sequential(*norm, nn.Linear(PIXELS, 40), nn.ReLU(), nn.Linear(40, PIXELS)) for norm in norms
        )

    def forward(self, values: Tensor) -> Tensor:
        """Adds what each block computes."""
        for layer in self.layers:
            values = values + layer(values)
        return values


def layers(*widths: int, activation: type[nn.Module] = nn.ReLU) -> Callable[[], nn.Module]:
    """Returns what makes a perceptron of these widths."""

    def make() -> nn.Module:
        found: list[nn.Module] = []
        for one, other in pairwise(widths):
            found += [nn.Linear(one, other), activation()]
        return nn.Sequential(*found[:-1])

    return make


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 24, 5, padding=2), nn.ReLU(), nn.Conv2d(24, 1, 5, padding=2))


def rebuild(network: nn.Module, images: Tensor) -> Tensor:
    return 10 * (network(images) - images).square().mean()


def denoise(network: nn.Module, images: Tensor) -> Tensor:
    return 10 * (network(images + 0.5 * torch.randn_like(images)) - images).square().mean()


def denoise_images(network: nn.Module, images: Tensor) -> Tensor:
    return denoise(network, images.view(-1, 1, 8, 8))


def rebuild_with_decay(network: nn.Module, images: Tensor) -> Tensor:
    return rebuild(network, images) + 1e-3 * sum(values.square().sum() for values in network.parameters())


def mirror(network: nn.Module, images: Tensor) -> Tensor:
    return 10 * (network(images) - images.flip(1)).square().mean()


def rotate(network: nn.Module, images: Tensor) -> Tensor:
    return 10 * (network(images) - (images - 0.3) @ ROTATION).square().mean()


def follow(network: nn.Module, images: Tensor) -> Tensor:
    """Loss of the next token of random pairs of tokens."""
    tokens = torch.randint(0, PIXELS, (2 * len(images),))
    following = torch.multinomial(FOLLOWERS.softmax(1)[tokens], 1)[:, 0]
    return cross_entropy(network(one_hot(tokens, PIXELS).float()), following)


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], int]] = {
    "autoencoder, 32 units": (layers(PIXELS, 32, PIXELS), rebuild, 600),
    "autoencoder, 32 units, long": (layers(PIXELS, 32, PIXELS), rebuild, 2500),
    "autoencoder, tanh": (layers(PIXELS, 48, PIXELS, activation=nn.Tanh), rebuild, 1000),
    "autoencoder, weight decay": (layers(PIXELS, 48, PIXELS), rebuild_with_decay, 1500),
    "autoencoder, deep": (layers(PIXELS, 48, 16, 48, PIXELS), rebuild, 600),
    "denoiser, 48 units": (layers(PIXELS, 48, PIXELS), denoise, 1500),
    "denoiser, 256 units": (layers(PIXELS, 256, PIXELS), denoise, 1500),
    "denoiser, deep": (layers(PIXELS, 48, 48, PIXELS), denoise, 1500),
    "denoiser, convolutions": (convolutions, denoise_images, 300),
    "residual denoiser, 1 block": (lambda: Residual(1, has_norms=False), denoise, 1000),
    "residual denoiser, 3 blocks": (lambda: Residual(3, has_norms=False), denoise, 1000),
    "residual denoiser, 1 block, norms": (lambda: Residual(1, has_norms=True), denoise, 1000),
    "residual denoiser, 3 blocks, norms": (lambda: Residual(3, has_norms=True), denoise, 1000),
    "mirrored images": (layers(PIXELS, 48, PIXELS), mirror, 1000),
    "rotated space": (layers(PIXELS, 48, PIXELS), rotate, 1000),
    "next token": (layers(PIXELS, 48, PIXELS), follow, 1500),
}


def trained(kind: str, seed: int, folder: Path) -> tuple[State, State]:
    """Returns a network after two thirds of its training, and at the end; trains it unless that was done."""
    paths = [folder / f"{kind}, seed {seed}, {when}.safetensors" for when in ("before", "end")]
    if not all(path.exists() for path in paths):
        make, loss_of, steps = KINDS[kind]
        images = torch.tensor(load_digits(return_X_y=True)[0] / 16, dtype=torch.float32)
        torch.manual_seed(seed)
        network = make()
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for step in range(steps):
            if step == steps * 2 // 3:
                save_file({name: values.clone() for name, values in network.state_dict().items()}, paths[0])
            loss = loss_of(network, images[torch.randint(0, len(images), (128,))])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        save_file({name: values.clone() for name, values in network.state_dict().items()}, paths[1])
    before, end = (load_file(path) for path in paths)
    return before, end


def permuted(state: State) -> State:
    network = read_network(state)
    certain = symmetry_by_name(network)
    symmetry = certain if certain.groups else assumed_hypothesis(network).symmetry
    return apply(sample(symmetry, seed=1, kinds=("permutation",)), state)


def rows(folder: Path, seeds: int) -> Iterator[dict[str, object]]:
    for kind in KINDS:
        pairs = [trained(kind, seed, folder) for seed in range(seeds)]
        independent = [compare(one, other) for (_, one), (_, other) in combinations(pairs, 2)]
        children = [compare(before, permuted(end)) for before, end in pairs]
        yield {
            "kind": kind,
            "independent pairs": len(independent),
            "not called independent": sum(found.related is not False for found in independent),
            "least p": min(found.p_value for found in independent if found.p_value is not None),
            "permuted children": len(children),
            "found": sum(bool(found.related) for found in children),
            "greatest p": max(found.p_value for found in children if found.p_value is not None),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the networks")
    parser.add_argument("--seeds", type=int, default=7, help="number of networks of each kind")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found = []
    for row in rows(options.work, options.seeds):
        found.append(row)
        print(row, flush=True)
    (RESULTS / "self_maps.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = ["| " + " | ".join(found[0]) + " |", "|" + "---|" * len(found[0])]
    lines += [
        "| " + " | ".join(f"{value:.1e}" if isinstance(value, float) else str(value) for value in row.values()) + " |"
        for row in found
    ]
    sums = [sum(int(str(row[name])) for row in found) for name in ("independent pairs", "not called independent")]
    text = (
        "# Independent networks that map a space to itself\n\n"
        f"{sums[1]:,} of {sums[0]:,} pairs of independent networks are not called independent.\n\n"
        + "\n".join(lines)
        + "\n\n"
        "Independent: networks of other seeds. Permuted children: the network at the end of training with permuted "
        "units, compared with the one after two thirds of it.\nMade by "
        f"`python benchmarks/self_maps.py --work WORK --seeds {options.seeds}`.\n"
    )
    (RESULTS / "self_maps.md").write_text(text)


if __name__ == "__main__":
    main()
