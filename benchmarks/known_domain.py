"""Measures which networks a predictor takes for unlike its training networks.

    python benchmarks/known_domain.py PREDICTOR ZOO [--others FOLDER ...]

PREDICTOR was trained on ZOO (`benchmarks/reference_zoo.py` keeps such folders), a zoo of one family; OTHERS are zoos of
other families or image sets. The test runs of ZOO, shuffled copies of them, untrained networks, networks of other sizes
and models of the package `transformers` with random weights are predicted. Writes
benchmarks/results/known_domain.json and .md.
"""

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from sne import Predictor, Zoo, read_network
from sne.making.families.small_cnn import SmallCNN
from sne.networks import Network
from sne.networks.shuffled import shuffled
from sne.predictors.domain import LEAST_P

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"
BANDS = ((0.0, 0.15), (0.15, 0.4), (0.4, 0.6), (0.6, 1.01))
CHANCE = 0.1
"""Accuracy of a network with random weights on ten classes."""


def strangers() -> dict[str, list[Network]]:
    """Returns networks with random weights by what they are for."""
    torch.manual_seed(0)
    kinds: dict[str, list[nn.Module]] = {
        "language models": [], "audio models": [], "ResNets and ViTs of transformers": [], "agents": [], "tasks": [],
    }  # fmt: skip
    for width, layers in itertools.product((32, 48, 64, 96), (1, 2, 3)):
        small = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4}
        wide = {**small, "intermediate_size": 2 * width}
        kinds["language models"] += [
            transformers.GPT2Model(transformers.GPT2Config(n_embd=width, n_layer=layers, n_head=4, vocab_size=200)),
            transformers.BertModel(transformers.BertConfig(**wide, vocab_size=200, max_position_embeddings=64)),
            transformers.LlamaModel(transformers.LlamaConfig(**wide, vocab_size=200)),
        ]
        audio = transformers.Wav2Vec2Config(
            **wide, num_conv_pos_embeddings=16, conv_dim=(16,) * 7, num_conv_pos_embedding_groups=4
        )
        sizes = [width, 2 * width]
        kinds["audio models"].append(transformers.Wav2Vec2Model(audio))
        kinds["ResNets and ViTs of transformers"] += [
            transformers.ResNetModel(
                transformers.ResNetConfig(embedding_size=16, hidden_sizes=sizes, depths=[layers, layers])
            ),
            transformers.ViTModel(transformers.ViTConfig(**wide, image_size=32, patch_size=4)),
        ]
        kinds["agents"] += [
            stack([inputs, *[width] * (layers + 1), actions], nn.Tanh) for inputs, actions in ((4, 2), (17, 6), (11, 3))
        ]
        kinds["tasks"] += [
            stack([8, *[width] * layers, 1], nn.ReLU),  # regression on a table
            stack([2, *[width] * layers, 3], nn.SiLU),  # an image as a function of the place
            stack([width, *[width // 4] * layers, width], nn.ReLU),  # an autoencoder
        ]
    kinds["small CNNs of other widths"] = [
        SmallCNN(channels, 10, "relu", 0.0, width=width)
        for width, channels, _ in itertools.product((4, 8, 12, 24, 32, 48, 64, 128), (1, 3), range(3))
    ]
    kinds["perceptrons on images, wider than 256 units"] = [
        stack([784, *[width] * layers, 10], nn.ReLU) for width, layers, _ in itertools.product((320, 512), (1, 2), "ab")
    ]
    return {name: [read_network(one) for one in some] for name, some in kinds.items()}


def stack(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Module:
    """Returns linear layers of these sizes."""
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def copies_by_accuracy(networks: Sequence[Network], labels: np.ndarray) -> dict[str, list[Network]]:
    """Returns shuffled copies of networks by the accuracy of these."""
    found = {}
    for low, high in BANDS:
        some = [number for number in range(len(networks)) if low <= labels[number] < high]
        name = f"shuffled copies of these, accuracy {low:g} to {min(high, 1):g} before"
        found[name] = [shuffled(networks[number], number) for number in some]
    return found


def flagged(
    predictor: Predictor, networks: Sequence[Network], labels: np.ndarray | None = None, at_chance: bool = False
) -> dict[str, Any]:
    """Returns the share of networks that are outside the known domain, with a 95% interval, and of right intervals.

    Args:
        predictor: The predictor.
        networks: The networks.
        labels: Their measured accuracy; None where none was measured.
        at_chance: Whether the accuracy of all is that of chance.
    """
    predictions = [p for p in predictor.predict(networks) if p.property == TARGET]
    outside = np.array([p.in_domain is False for p in predictions])
    low, high = wilson(int(outside.sum()), len(outside))
    found: dict[str, Any] = {"n": len(outside), "outside": float(outside.mean()), "from": low, "to": high}
    if labels is not None:
        inside = [p.low <= label <= p.high for p, label in zip(predictions, labels, strict=True)]
        found["coverage"] = float(np.mean(inside))
    if at_chance:
        wrong = [not is_out and p.low > CHANCE for p, is_out in zip(predictions, outside, strict=True)]
        found["wrong"] = float(np.mean(wrong))
    return found


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Returns the 95% interval of a share (Wilson, 1927)."""
    z, share = 1.96, hits / count
    middle, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return max(0.0, (middle - half) / (1 + z * z / count)), min(1.0, (middle + half) / (1 + z * z / count))


HEAD = [
    "| networks | number | outside the known domain | 95% interval | interval holds the measured value | not outside, "
    "and interval above chance |",
    "|---|---|---|---|---|---|",
]


def line(name: str, row: dict[str, Any]) -> str:
    """Returns a line of a table below `HEAD`."""
    shares = [f"{row[key]:.1%}" if key in row else "-" for key in ("coverage", "wrong")]
    interval = f"{row['from']:.1%} to {row['to']:.1%}"
    return f"| {name} | {row['n']} | {row['outside']:.1%} | {interval} | " + " | ".join(shares) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictor", type=Path, help="folder of a predictor of test_accuracy")
    parser.add_argument("zoo", type=Path, help="folder of the zoo that it was trained on")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of zoos that it was not trained on")
    options = parser.parse_args()
    predictor, zoo = Predictor.load(options.predictor), Zoo.open(options.zoo)
    assert predictor.split is not None
    test = predictor.split.rows(zoo.runs, "test")
    networks, labels = zoo.networks(test), zoo.column(TARGET)[test]
    rows = {"held-out runs of the zoo": flagged(predictor, networks, labels)}
    for name, copies in copies_by_accuracy(networks, labels).items():
        rows[name] = flagged(predictor, copies, at_chance=True)
    torch.manual_seed(1)
    fresh = [read_network(SmallCNN(1, 10, "relu", 0.0)) for _ in range(100)]
    rows["small CNNs with torch's initial weights"] = flagged(predictor, fresh, at_chance=True)
    rows |= {name: flagged(predictor, some) for name, some in strangers().items()}
    for folder in options.others:
        other = Zoo.open(folder)
        for family in sorted(set(other.families)):
            some = np.flatnonzero(np.array(other.families) == family)
            name = f"{family} of {other.column('dataset')[some[0]]}"
            rows[name] = flagged(predictor, other.networks(some), other.column(TARGET)[some])
            print(name, rows[name], flush=True)
    (RESULTS / "known_domain.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    lines = [*HEAD, *(line(name, row) for name, row in rows.items())]
    text = f"""# The known domain

A predictor of one family and one image set (the reference zoo) is given networks of that zoo, and others. A network is
outside the known domain if its p-value is below {LEAST_P} (`sne/predictors/domain.py`); its interval is then all of
[0, 1]. A shuffled copy has the accuracy of chance: it is predicted wrongly if it is not outside and its interval lies
above chance (last column).

{chr(10).join(lines)}

Shuffled copies of networks near chance look like networks near chance, and are mostly predicted as such. Networks of
the same architecture trained on another image set are not recognised as strangers: their interval is that of the zoo,
and holds fewer of the measured values.

Made by `python benchmarks/known_domain.py PREDICTOR ZOO --others FOLDER ...`.
"""
    (RESULTS / "known_domain.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
