"""Measures which networks a predictor takes for unlike its training networks.

    python benchmarks/known_domain.py PREDICTOR ZOO [--others FOLDER ...]

PREDICTOR was trained on ZOO (`benchmarks/reference_zoo.py` keeps such folders), a zoo of one family; OTHERS are zoos of
other families or image sets. The test runs of ZOO, shuffled copies of them, untrained networks, networks of other sizes
and models of the package `transformers` with random weights are predicted. Writes
benchmarks/results/known_domain.json and .md.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn

from sne import Predictor, Zoo, read_network
from sne.making.families.small_cnn import SmallCNN
from sne.networks import Network
from sne.networks.shuffled import shuffled

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"
BANDS = ((0.0, 0.15), (0.15, 0.4), (0.4, 0.6), (0.6, 1.01))


def models() -> Iterator[tuple[str, list[nn.Module]]]:
    """Yields models with random weights by what they are for."""
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    language = [
        transformers.GPT2Model(transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500)),
        transformers.BertModel(transformers.BertConfig(**small, vocab_size=500)),
        transformers.LlamaModel(transformers.LlamaConfig(**small, vocab_size=500)),
    ]
    audio = [transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**small, num_conv_pos_embeddings=16))]
    vision = [
        transformers.ResNetModel(transformers.ResNetConfig()),
        transformers.ViTModel(transformers.ViTConfig(**small)),
    ]
    agents = [
        nn.Sequential(nn.Linear(n, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)) for n in (4, 8, 17)
    ]
    yield "language models", language
    yield "audio model", audio
    yield "ResNet-50 and ViT of transformers", vision
    yield "perceptrons as agents have them", agents
    sizes = [SmallCNN(1, 10, "relu", 0.0, width=width) for width in (4, 8, 12, 24, 32, 48)]
    yield "small CNNs of other widths, untrained", sizes


def row(predictor: Predictor, name: str, networks: Sequence[Network], labels: np.ndarray | None = None) -> dict:
    predictions = [p for p in predictor.predict(networks) if p.property == TARGET]
    outside = np.array([p.in_domain is False for p in predictions])
    found = {"networks": name, "n": len(predictions), "outside": float(outside.mean())}
    if labels is not None:
        inside = [p.low <= label <= p.high for p, label in zip(predictions, labels, strict=True)]
        found["coverage"] = float(np.mean(inside))
    print(found, flush=True)
    return found


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictor", type=Path, help="folder of a predictor of test_accuracy")
    parser.add_argument("zoo", type=Path, help="folder of the zoo that it was trained on")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of zoos that it was not trained on")
    options = parser.parse_args()
    torch.manual_seed(0)
    predictor, zoo = Predictor.load(options.predictor), Zoo.open(options.zoo)
    assert predictor.split is not None
    test = predictor.split.rows(zoo.runs, "test")
    networks, labels = zoo.networks(test), zoo.column(TARGET)[test]
    rows = [row(predictor, "held-out runs of the zoo", networks, labels)]
    for low, high in BANDS:
        some = [number for number in range(len(test)) if low <= labels[number] < high]
        copies = [shuffled(networks[number], number) for number in some]
        name = f"shuffled copies of these, accuracy {low:g} to {min(high, 1):g} before"
        rows.append(row(predictor, name, copies))
    fresh = [SmallCNN(1, 10, "relu", 0.0) for _ in range(100)]
    rows.append(row(predictor, "small CNNs with torch's initial weights", [read_network(one) for one in fresh]))
    rows += [row(predictor, name, [read_network(one) for one in some]) for name, some in models()]
    for folder in options.others:
        other = Zoo.open(folder)
        for family in sorted(set(other.families)):
            some = np.flatnonzero(np.array(other.families) == family)
            measured = other.column(TARGET)[some]
            rows.append(
                row(predictor, f"{family} of {other.column('dataset')[some[0]]}", other.networks(some), measured)
            )
    (RESULTS / "known_domain.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    lines = [
        "| networks | number | outside the known domain | interval holds the measured value |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['networks']} | {one['n']} | {one['outside']:.1%} | {share(one.get('coverage'))} |" for one in rows
    ]
    text = f"""# The known domain

A predictor of one family and one image set (the reference zoo) is given networks of that zoo, and others. A network is
outside the known domain if its p-value is below .03 (`sne/predictors/domain.py`); its interval is then all of [0, 1].

{chr(10).join(lines)}

Shuffled copies of networks near chance look like networks near chance, and are predicted as such. Networks of the same
architecture trained on another image set are not recognised as strangers: their interval is that of the zoo, and holds
fewer of the measured values.

Made by `python benchmarks/known_domain.py PREDICTOR ZOO --others FOLDER ...`.
"""
    (RESULTS / "known_domain.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
