"""Neural networks that read weights, other people's methods, as network encoders: one file a method."""

from sne.baselines.neural.contract import CannotTakeError as CannotTakeError
from sne.baselines.neural.contract import Maker as Maker
from sne.baselines.neural.deep_sets import DeepSetsEncoder as DeepSetsEncoder
from sne.baselines.neural.deep_sets import make_deep_sets
from sne.baselines.neural.dwsnet import DWSNetEncoder as DWSNetEncoder
from sne.baselines.neural.dwsnet import make_dwsnet
from sne.baselines.neural.flat_mlp import FlatMLPEncoder as FlatMLPEncoder
from sne.baselines.neural.flat_mlp import make_flat_mlp
from sne.baselines.neural.graph_network import GraphNetworkEncoder as GraphNetworkEncoder
from sne.baselines.neural.graph_network import make_graph_network
from sne.baselines.neural.graph_transformer import GraphTransformerEncoder as GraphTransformerEncoder
from sne.baselines.neural.graph_transformer import make_graph_transformer
from sne.baselines.neural.nfn import NFNEncoder as NFNEncoder
from sne.baselines.neural.nfn import make_nfn_hnp, make_nfn_np, make_nft
from sne.encoders import NetworkEncoder

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
