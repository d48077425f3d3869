"""Neural networks that read weights, published by others: network encoders and one self-training baseline.

Each method has one file.
"""

from collections.abc import Callable
from functools import partial

from sne.baselines import Baseline
from sne.encoders import NetworkEncoder
from sne.errors import CannotTakeError as CannotTakeError
from sne.lab.neural.contract import Maker as Maker
from sne.lab.neural.deep_sets import DeepSetsEncoder as DeepSetsEncoder
from sne.lab.neural.deep_sets import make_deep_sets
from sne.lab.neural.dwsnet import DWSNetEncoder as DWSNetEncoder
from sne.lab.neural.dwsnet import make_dwsnet
from sne.lab.neural.flat_mlp import FlatMLPEncoder as FlatMLPEncoder
from sne.lab.neural.flat_mlp import make_flat_mlp
from sne.lab.neural.graph_encoder import make_graph_encoder
from sne.lab.neural.graph_network import GraphNetworkEncoder as GraphNetworkEncoder
from sne.lab.neural.graph_transformer import GraphTransformerEncoder as GraphTransformerEncoder
from sne.lab.neural.hyper_rep import HyperRepBaseline as HyperRepBaseline
from sne.lab.neural.nfn import NFNEncoder as NFNEncoder
from sne.lab.neural.nfn import make_nfn

NEURAL_BASELINES: dict[str, Maker] = {
    "flat_mlp": make_flat_mlp,
    "deep_sets": make_deep_sets,
    "nfn_np": partial(make_nfn, method="nfn_np"),
    "nfn_hnp": partial(make_nfn, method="nfn_hnp"),
    "nft": partial(make_nfn, method="nft", channels=(16, 16)),
    "dwsnet": make_dwsnet,
    "graph_network": partial(make_graph_encoder, GraphNetworkEncoder),
    "graph_transformer": partial(make_graph_encoder, GraphTransformerEncoder),
}
"""Makers of encoders, by the names that studies use."""

NEURAL_ENCODERS: dict[str, type[NetworkEncoder]] = {
    "FlatMLPEncoder": FlatMLPEncoder,
    "DeepSetsEncoder": DeepSetsEncoder,
    "NFNEncoder": NFNEncoder,
    "DWSNetEncoder": DWSNetEncoder,
    "GraphNetworkEncoder": GraphNetworkEncoder,
    "GraphTransformerEncoder": GraphTransformerEncoder,
}
"""Classes of encoders, by the names that predictor folders use."""

SLOW_BASELINES: dict[str, Callable[[], Baseline]] = {"hyper_rep": HyperRepBaseline}
"""Baselines that first learn a representation, which takes minutes."""
