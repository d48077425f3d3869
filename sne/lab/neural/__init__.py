"""Neural networks that read weights, other people's methods, as network encoders: one file a method."""

from collections.abc import Callable

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
from sne.lab.neural.graph_network import GraphNetworkEncoder as GraphNetworkEncoder
from sne.lab.neural.graph_network import make_graph_network
from sne.lab.neural.graph_transformer import GraphTransformerEncoder as GraphTransformerEncoder
from sne.lab.neural.graph_transformer import make_graph_transformer
from sne.lab.neural.hyper_rep import HyperRepBaseline as HyperRepBaseline
from sne.lab.neural.nfn import NFNEncoder as NFNEncoder
from sne.lab.neural.nfn import make_nfn_hnp, make_nfn_np, make_nft

NEURAL_BASELINES: dict[str, Maker] = {
    "flat_mlp": make_flat_mlp,
    "deep_sets": make_deep_sets,
    "nfn_np": make_nfn_np,
    "nfn_hnp": make_nfn_hnp,
    "nft": make_nft,
    "dwsnet": make_dwsnet,
    "graph_network": make_graph_network,
    "graph_transformer": make_graph_transformer,
}
"""Makers by the names that studies use."""

NEURAL_ENCODERS: dict[str, type[NetworkEncoder]] = {
    "FlatMLPEncoder": FlatMLPEncoder,
    "DeepSetsEncoder": DeepSetsEncoder,
    "NFNEncoder": NFNEncoder,
    "DWSNetEncoder": DWSNetEncoder,
    "GraphNetworkEncoder": GraphNetworkEncoder,
    "GraphTransformerEncoder": GraphTransformerEncoder,
}
"""Classes by the names that predictor folders use."""

SLOW_BASELINES: dict[str, Callable[[], Baseline]] = {"hyper_rep": HyperRepBaseline}
"""Baselines that learn a representation first, which takes minutes."""
