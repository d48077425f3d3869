"""Neural functional networks (NFN-NP, NFN-HNP) and transformers (NFT), built with their authors' package `nfn`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.errors import install_hint
from sne.lab.neural.fixed_layout import FixedLayout, FixedLayoutEncoder, one_scale_per_part
from sne.lab.neural.plain_stack import LINEAR_AND_CONV, InputMixing, plain_layout, plain_stack
from sne.networks import Network
from sne.nn import in_float32

METHODS = ("nfn_np", "nfn_hnp", "nft")


def _package() -> Any:
    """Imports the package with its layers and data structures."""
    try:
        import nfn.common
        import nfn.layers
    except ImportError:
        raise ImportError(f"NFN and NFT need the packages nfn and einops; {install_hint('nfn')}") from None
    return nfn


class NFNEncoder(FixedLayoutEncoder):
    """Reads plain stacks of linear layers and convolutions of one layout, invariant to permutations of hidden neurons.

    Args:
        layout: Value of `FixedLayout.to_json`.
        compression: Compression of standardised weights; see `FixedLayoutEncoder`.
        method: "nfn_np" treats inputs and outputs as permutable too and adds learned position embeddings to tell them
            apart; "nfn_hnp" treats only hidden neurons as permutable; "nft" applies attention among weights.
        channels: Channels per weight of each equivariant layer; for "nft" equal numbers, one per block.
        hidden: Width of the layer after pooling.
        dim: Length of the embedding.
        heads: Number of attention heads of "nft".
        dropout: Dropout rate of "nft".
        most_inputs: With "nfn_hnp", networks with more inputs have them mixed to `mixed_inputs` first.
        mixed_inputs: Number of mixtures; see `InputMixing`.

    Source: Zhou et al., "Permutation Equivariant Neural Functionals", arXiv 2302.14040, section 2 and 3.1, and
        "Neural Functional Transformers", arXiv 2305.13546, section 3; layers and pooling are those of their package.
    Differs: weights are standardised part by part and compressed, which helped on zoos with many initial scales; wide
        inputs of "nfn_hnp" are mixed, since its number of parameters grows with the square of theirs; a missing bias
        is read as zero.
    """

    @in_float32()
    def __init__(
        self,
        *,
        layout: Sequence[Sequence[Any]],
        compression: float = 5.0,
        method: str,
        channels: Sequence[int] = (16, 16, 5),
        hidden: int = 512,
        dim: int = 128,
        heads: int = 4,
        dropout: float = 0.1,
        most_inputs: int = 64,
        mixed_inputs: int = 16,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
        given = FixedLayout.from_json(layout)
        settings = {
            "method": method,
            "channels": list(channels),
            "hidden": hidden,
            "dim": dim,
            "heads": heads,
            "dropout": dropout,
            "most_inputs": most_inputs,
            "mixed_inputs": mixed_inputs,
        }
        super().__init__(
            given, method=method, scales=one_scale_per_part(given), compression=compression, settings=settings
        )
        self.dim = dim
        self.stack = plain_stack(given, types=LINEAR_AND_CONV, method=method)
        shapes = list(self.stack.shapes)
        self.mixing = None
        if method == "nfn_hnp" and shapes[0][1] > most_inputs:
            self.mixing = InputMixing(shapes[0][1], mixed_inputs)
            shapes[0] = (shapes[0][0], mixed_inputs, shapes[0][2])
        package = _package()
        spec = _network_spec(package, shapes)
        if method == "nft":
            layers = _transformer_blocks(package, spec, channels, heads, dropout)
        else:
            layers = _linear_layers(package, spec, method, channels)
        self.features = nn.Sequential(*layers)
        pooled = channels[-1] * package.layers.HNPPool.get_num_outs(spec)
        self.head = nn.Sequential(
            package.layers.HNPPool(spec),
            nn.Flatten(),
            nn.Linear(pooled, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim),
            nn.ReLU(),
        )

    def encode(self, weights: Float[Tensor, "networks entries"]) -> Float[Tensor, "networks dim"]:
        """Encodes standardised weights."""
        matrices, biases = self.stack.split(weights)
        if self.mixing is not None:
            matrices[0] = self.mixing(matrices[0])
        shaped = [one.unsqueeze(1).unsqueeze(-1) if one.shape[-1] > 1 else one.permute(0, 3, 1, 2) for one in matrices]
        features = _package().common.WeightSpaceFeatures(shaped, [one.unsqueeze(1) for one in biases])
        return self.head(self.features(features))


def _network_spec(package: Any, shapes: Sequence[tuple[int, int, int]]) -> Any:
    """Describes a layout for the package: kernel positions are the height of a kernel; a single one is left out."""
    array = package.common.ArraySpec
    weights = [array((*shape, 1) if shape[2] > 1 else shape[:2]) for shape in shapes]
    return package.common.NetworkSpec(weights, [array(shape[:1]) for shape in shapes])


def _linear_layers(package: Any, spec: Any, method: str, channels: Sequence[int]) -> list[nn.Module]:
    """Returns the layers of NFN, with a ReLU after each."""
    layers: list[nn.Module] = []
    for width, following in pairwise([1, *channels]):
        if method == "nfn_hnp":
            layers.append(package.layers.HNPLinear(spec, width, following))
        else:
            layers.append(package.layers.NPLinear(spec, width, following, io_embed=True))
        layers.append(package.layers.TupleOp(nn.ReLU()))
    return layers


def _transformer_blocks(
    package: Any, spec: Any, channels: Sequence[int], heads: int, dropout: float
) -> list[nn.Module]:
    """Returns the layers of NFT: a map to channels, position embeddings, then attention and pointwise maps in turn."""
    width = channels[0]
    if any(other != width for other in channels) or width % heads:
        raise ValueError(f"channels of nft are {list(channels)}, expected equal multiples of the {heads} heads")
    layers = package.layers
    has_kernels = any(len(one.shape) > 2 for one in spec.weight_spec)
    blocks: list[nn.Module] = [layers.Pointwise(spec, 1, width), layers.LearnedPosEmbedding(spec, width)]
    for _ in channels:
        # Layers can share projections only if their kernels have equal numbers of positions.
        attention = layers.NPAttention(spec, width, num_heads=heads, dropout=dropout, share_projections=not has_kernels)
        pointwise = nn.Sequential(
            layers.Pointwise(spec, width, 2 * width),
            layers.TupleOp(nn.GELU()),
            layers.Pointwise(spec, 2 * width, width),
        )
        blocks += [
            layers.ResBlock(one, nn.Identity(), dropout, layers.SimpleLayerNorm(spec, width))
            for one in (attention, pointwise)
        ]
    return blocks


def make_nfn(networks: Sequence[Network], /, *, method: str, **settings: Any) -> NFNEncoder:
    """Builds an encoder for the layout that networks share.

    Args:
        networks: Networks; at least one.
        method: "nfn_np", "nfn_hnp" or "nft".
        settings: Other keyword arguments of `NFNEncoder`.

    Raises:
        CannotTakeError: If the networks have more than one layout, or are not plain stacks of at least two layers.
    """
    layout = plain_layout(networks, types=LINEAR_AND_CONV, method=method)
    return NFNEncoder(layout=layout.to_json(), method=method, **settings)
