"""Several tensor set encoders as one function: the members of an ensemble, which read the same batch."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sne.encoders.input_scale import InputScale
from sne.encoders.tensor_set_encoder import TensorSetEncoder
from sne.encoders.tensor_tokens import TensorTokens
from sne.encoders.token_places import TokenPlaces
from sne.nn import Bucket
from sne.nn.stacked import StackedLinear, StackedPreNormBlocks, StackedTables, normalize, stack


@final
class StackedTensorSets:
    """Tensor set encoders with the same settings, as they are when the stack is made, with dropout and noise off.

    What depends on the batch alone is computed once for all members.

    Args:
        encoders: The members.

    Example:
        >>> from sne import read_network
        >>> members = [TensorSetEncoder().eval() for _ in range(5)]
        >>> batch = members[0].collate(members[0].prepare([read_network(nn.Linear(3, 2))]))
        >>> embeddings = StackedTensorSets(members)(batch)
        >>> embeddings.shape, torch.allclose(embeddings[4], members[4](batch), atol=1e-5)
        (torch.Size([5, 1, 96]), True)
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, encoders: Sequence[TensorSetEncoder]) -> None:
        def each(get: Callable[[TensorSetEncoder], Any]) -> list[Any]:
            return [get(encoder) for encoder in encoders]

        self._members = len(encoders)
        with torch.autocast(encoders[0].seeds.device.type, enabled=False):
            self._token_readers = StackedReaders(each(lambda e: e.token_scale), each(lambda e: e.token_input[0]))
            self._token_input = StackedLinear(each(lambda e: e.token_input[-1]))
            self._kind_shift = StackedTables(each(lambda e: e.kind_shift.weight))
            self._kind_gain = StackedTables(each(lambda e: 1 + e.kind_gain.weight))
            self._depth = StackedLinear(each(lambda e: e.depth))
            self._output_readers = StackedReaders(each(lambda e: e.output_scale), each(lambda e: e.output_input[0]))
            self._output_input = StackedLinear(each(lambda e: e.output_input[-1]))
            self._output_shift = StackedTables(each(lambda e: e.output_shift.weight))
            self._output_gain = StackedTables(each(lambda e: 1 + e.output_gain.weight))
            self._blocks = [
                StackedPreNormBlocks(blocks) for blocks in zip(*each(lambda encoder: encoder.blocks), strict=True)
            ]
            self._pooling = StackedPooling(encoders)
            self._embedding = StackedLinear(each(lambda e: e.embedding[0]))

    @torch.no_grad()
    def __call__(self, batch: TensorTokens) -> Float[Tensor, "members networks dim"]:
        """Encodes a batch with every member."""
        with torch.autocast(batch.features.device.type, enabled=False):
            places = TokenPlaces(batch)
            joined = torch.cat([self._tokens(places), self._answers(places)], 1)
            pooled = [self._pool(joined, bucket, places) for bucket in places.buckets.buckets]
            ordered = torch.cat(pooled, 1).index_select(1, places.buckets.position)
            return F.silu(self._embedding(ordered), inplace=True)

    def _tokens(self, places: TokenPlaces) -> Float[Tensor, "members parts dim"]:
        tokens = self._token_input(F.silu(self._token_readers(places.features), inplace=True))
        tokens.mul_(self._kind_gain(places.kinds)).add_(self._kind_shift(places.kinds))
        return tokens.add_(self._depth(places.depths.expand(self._members, -1, -1)))

    def _answers(self, places: TokenPlaces) -> Float[Tensor, "members networks dim"]:
        """Returns the mean over the outputs of each network; zeros for a network without outputs."""
        rows = self._output_input(F.silu(self._output_readers([places.outputs]), inplace=True))
        rows.mul_(self._output_gain(places.output_index)).add_(self._output_shift(places.output_index))
        starts = places.num_networks * torch.arange(self._members, device=rows.device)
        owners = (starts[:, None] + places.output_owners).flatten()
        total = rows.new_zeros(self._members * places.num_networks, rows.shape[2])
        total.index_add_(0, owners, rows.flatten(0, 1))
        return total.view(self._members, places.num_networks, -1).div_(places.output_counts)

    def _pool(
        self, joined: Float[Tensor, "members rows dim"], bucket: Bucket, places: TokenPlaces
    ) -> Float[Tensor, "members sets seeds_dim"]:
        """Encodes the networks of one bucket, up to the vectors that the seeds read."""
        rows = places.ragged[bucket.tokens.flatten()]
        starts = joined.shape[1] * torch.arange(self._members, device=rows.device)
        sets = joined.flatten(0, 1).index_select(0, (starts[:, None] + rows).flatten())
        sets = sets.view(self._members, *bucket.tokens.shape, -1)
        mask = None if bucket.mask is None else bucket.mask.repeat(self._members, 1)
        for blocks in self._blocks:
            blocks.apply_(sets, mask)
        return self._pooling(sets, mask)


@final
class StackedReaders:
    """Input scales with the linear layers that read their numbers.

    Scales that are equal are applied once, and their layers are one product.

    Args:
        scales: One scale per member.
        layers: One layer per member.
    """

    def __init__(self, scales: Sequence[InputScale], layers: Sequence[nn.Linear]) -> None:
        self.has_one_scale = all(scale.equals(scales[0]) for scale in scales)
        self._scales = [scale.group_scales() for scale in (scales[:1] if self.has_one_scale else scales)]
        self._members = len(layers)
        weights = [
            [scale.select(layer.weight, group) for group in scale.group_scales()]
            for scale, layer in zip(scales, layers, strict=True)
        ]
        biases = [layer.bias.detach() for layer in layers]
        if self.has_one_scale:
            weights = [[torch.cat(group) for group in zip(*weights, strict=True)]]
            biases = [torch.cat(biases)]
        self._weights = [[weight.detach().T.contiguous() for weight in groups] for groups in weights]
        self._biases = biases

    def __call__(self, groups: Sequence[Float[Tensor, "_ size"]]) -> Float[Tensor, "members rows dim"]:
        """Returns the outputs of the layers for the rows of all groups, one group after the other."""
        num_rows, width = sum(map(len, groups)), len(self._biases[0])
        outputs = groups[0].new_empty(len(self._scales), num_rows, width)
        for own, scales, weights, bias in zip(outputs, self._scales, self._weights, self._biases, strict=True):
            parts = own.split([len(rows) for rows in groups])
            for part, rows, scale, weight in zip(parts, groups, scales, weights, strict=True):
                torch.addmm(bias, scale.numbers(rows), weight, out=part)
        return outputs[0].unflatten(1, (self._members, -1)).transpose(0, 1) if self.has_one_scale else outputs


@final
class StackedPooling:
    """Learned seeds that attend to the tokens of a set, after a layer norm.

    Args:
        encoders: The members.
    """

    def __init__(self, encoders: Sequence[TensorSetEncoder]) -> None:
        gain, bias = (stack([getattr(e.norm, name) for e in encoders]) for name in ("weight", "bias"))
        self._heads = heads = encoders[0].heads
        self._vectors = (stack([e.seed_vectors() for e in encoders]) * gain[:, None]).transpose(1, 2).contiguous()
        values = StackedLinear([e.keys_values for e in encoders])
        # By member and head. The bias of a norm adds the same to all logits of a seed.
        self._values = values.weight.unflatten(2, (2, heads, -1))[:, :, 1].transpose(1, 2)
        shift = values.bias.unflatten(2, (2, heads, -1))[:, :, 1].transpose(1, 2) + bias[:, None, None] @ self._values
        self._shift = shift.flatten(0, 1)
        self._values = (gain[:, None, :, None] * self._values).flatten(0, 1).contiguous()

    def __call__(
        self, sets: Float[Tensor, "members sets tokens dim"], mask: Bool[Tensor, "members_sets tokens"] | None
    ) -> Float[Tensor, "members sets seeds_dim"]:
        """Pools every set; `mask` is True on real tokens, once per member."""
        members, count, size, dim = sets.shape
        normed = normalize(sets)
        logits = torch.bmm(normed.view(members, -1, dim), self._vectors).view(members * count, size, -1)
        if mask is not None:
            logits.masked_fill_(~mask[:, :, None], -torch.inf)
        means = torch.bmm(logits.softmax(1).transpose(1, 2), normed.view(members * count, size, dim))
        by_head = means.view(members, count, self._heads, -1, dim).transpose(1, 2).reshape(len(self._values), -1, dim)
        found = torch.baddbmm(self._shift, by_head, self._values)
        return found.view(members, self._heads, count, -1, dim // self._heads).permute(0, 2, 3, 1, 4).flatten(2)
