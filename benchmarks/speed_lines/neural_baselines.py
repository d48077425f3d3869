"""`default` against encoders that read weights too: NFN-NP as published, and slower methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sne.encoders import PRESETS, NetworkEncoder
from sne.lab.neural import (
    NEURAL_BASELINES,
    CannotTakeError,
    DWSNetEncoder,
    GraphNetworkEncoder,
    GraphTransformerEncoder,
)
from sne.lab.neural.fixed_layout import FixedLayout
from sne.networks import Network
from sne.predictors import Property
from sne.predictors.experts import EncoderWithHeads, MemberStack, PropertyHeads
from sne.predictors.experts import Prepared as PreparedNetworks
from sne.training import preset_settings
from speed_lines.line import Line, Reading, Setting, Skipped
from speed_lines.material import load_predictor, small_cnn_zoo, weight_file
from speed_lines.timing import alternate, floor, multiply_adds

NETWORKS = 64
PUBLISHED_NFN = {"channels": (16, 16, 5), "hidden": 1000, "dim": 1000, "compression": 0.0}
"""Settings of the authors (experiments/predict_gen_configs of their repository): three equivariant layers of 16, 16 and
5 channels, pooling, and a head with two layers of 1,000 neurons."""

PUBLISHED: dict[str, Callable[[Sequence[Network]], NetworkEncoder]] = {
    "graph_network": lambda _: GraphNetworkEncoder(dim=32, edge_dim=32, hidden=32, layers=4),
    "graph_transformer": lambda _: GraphTransformerEncoder(dim=64, edge_dim=32, hidden=128, heads=8, layers=4),
    "nft": NEURAL_BASELINES["nft"],
    "dwsnet": lambda networks: DWSNetEncoder(
        layout=FixedLayout.shared_by(networks, "dwsnet").to_json(), channels=(32, 32, 32, 32)
    ),
}
"""Our versions of slower methods at their authors' widths (cnn_generalization/configs of mkofinas/neural-graphs,
trainers of AvivNavon/DWSNets)."""

INR = {"0.weight": (32, 1), "0.bias": (32,), "1.weight": (32, 32), "1.bias": (32,), "2.weight": (1, 32), "2.bias": (1,)}


@dataclass(frozen=True)
class _Prepared:
    """An encoder with heads, and networks in the form that it reads."""

    model: EncoderWithHeads
    items: Sequence[Any]

    def forward(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.model(self.model.encoder.collate(self.items))


def _prepared(encoder: NetworkEncoder, networks: Sequence[Network]) -> _Prepared:
    torch.manual_seed(0)
    items = encoder.prepare(networks)
    encoder.fit_scale(items)
    heads = PropertyHeads(encoder.dim, [Property("test_accuracy", "fraction")])
    return _Prepared(EncoderWithHeads(encoder, heads), items)


def _nfn(networks: Sequence[Network]) -> _Prepared:
    try:
        return _prepared(NEURAL_BASELINES["nfn_np"](networks, **PUBLISHED_NFN), networks)
    except ImportError as error:
        raise Skipped(str(error)) from None


def _training_step(prepared: _Prepared) -> Callable[[], None]:
    """Returns a step as the training loop makes it: collate, forward, backward, clip, AdamW."""
    settings = preset_settings("default")
    model = prepared.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    targets = torch.full((len(prepared.items), 1), 0.5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model.heads.loss(model(model.encoder.collate(prepared.items)), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()

    return step


def predict(setting: Setting) -> list[Reading]:
    """Compares a prediction of networks of a zoo, everything included, with a forward pass of NFN-NP."""
    zoo, predictor = small_cnn_zoo(setting.work, 1200), load_predictor(setting.work)
    rows = list(range(NETWORKS))
    nfn = _nfn(zoo.networks(rows))
    nfn.model.eval()

    def ours() -> None:
        predictor.predict(zoo.networks(rows))

    def describe() -> None:
        predictor.encoder.prepare(zoo.networks(rows))

    times = alternate({"ours": ours, "describe": describe, "nfn": nfn.forward}, repeats=15)
    weights = 4970 * NETWORKS
    return [
        Reading(
            "predict 64 small CNNs of a zoo: reading, description, five members, 500 trees",
            "forward of NFN-NP (package nfn, 16-16-5 channels, head of 1,000)",
            times["ours"].wall,
            times["nfn"].wall,
            0.5,
            cpu_ratio=times["ours"].cpu / times["nfn"].cpu,
            threads=setting.threads,
            repeats=times["ours"].repeats,
            floor=floor(
                "weights read once; matrix products of the prediction, as they are now",
                bytes=4 * weights,
                multiply_adds=multiply_adds(ours),
                exponentials=0,
            ),
            notes=[f"description: {times['describe'].wall / times['ours'].wall:.0%} of our time"],
        )
    ]


def train(setting: Setting) -> list[Reading]:
    """Compares training steps."""
    networks = small_cnn_zoo(setting.work, 1200).networks(range(NETWORKS))
    own = _prepared(PRESETS["default"](), networks)
    ours, theirs = _training_step(own), _training_step(_nfn(networks))
    times = alternate({"ours": ours, "nfn": theirs}, repeats=9)
    return [
        Reading(
            "training step of `default`, 64 small CNNs",
            "training step of NFN-NP",
            times["ours"].wall,
            times["nfn"].wall,
            0.15,
            cpu_ratio=times["ours"].cpu / times["nfn"].cpu,
            threads=setting.threads,
            repeats=times["ours"].repeats,
            floor=floor("matrix products of the step, as they are now", multiply_adds=multiply_adds(ours)),
            notes=[f"learned numbers: {_num_parameters(own.model):,}"],
        )
    ]


def _num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def slower(setting: Setting) -> list[Reading]:
    """Compares forward passes with graph networks, NFT and DWSNet."""
    cnns = small_cnn_zoo(setting.work, 1200).networks(range(NETWORKS))
    readings = []
    for name, networks, kind in (
        ("graph_network", cnns, "small CNNs"),
        ("graph_transformer", cnns, "small CNNs"),
        ("nft", cnns, "small CNNs"),
        ("dwsnet", _inrs(setting), "perceptrons 1-32-32-1"),
    ):
        try:
            torch.manual_seed(0)
            other = _prepared(PUBLISHED[name](networks), networks)
        except (ImportError, CannotTakeError) as error:
            raise Skipped(str(error)) from None
        other.model.eval()
        own = _prepared(PRESETS["default"](), networks)
        members = MemberStack([own.model])  # as a predictor evaluates its members

        def ours(members: MemberStack = members, own: _Prepared = own) -> None:
            members.predict(PreparedNetworks(own.items))

        def whole(members: MemberStack = members, networks: Sequence[Network] = networks) -> None:
            members.predict(PreparedNetworks(members.models[0].encoder.prepare(networks)))

        times = alternate({"ours": ours, "whole": whole, "theirs": other.forward}, repeats=5, seconds=10)
        readings.append(
            Reading(
                f"forward of `default` on 64 prepared {kind}",
                f"forward of {name} on its prepared networks",
                times["ours"].wall,
                times["theirs"].wall,
                20,
                at_least=True,
                cpu_ratio=times["theirs"].cpu / times["ours"].cpu,
                threads=setting.threads,
                repeats=times["ours"].repeats,
                floor=floor("matrix products of the forward pass", multiply_adds=multiply_adds(ours)),
                notes=[f"with the description: {times['theirs'].wall / times['whole'].wall:.1f} x"],
            )
        )
    return readings


def _inrs(setting: Setting) -> list[Network]:
    from sne.checkpoints import read_network

    folder = setting.work / "inrs"
    return [read_network(weight_file(folder / f"{n}.safetensors", INR, torch.float32)) for n in range(NETWORKS)]


LINES = (Line("predict", predict, 240), Line("train", train, 120), Line("others", slower, 180))
