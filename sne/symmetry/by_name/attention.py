"""Groups of an attention: its heads and their channels, if the number of heads is known."""

from sne.errors import SymmetryError
from sne.symmetry.by_name.claims import Claims, UncertainError
from sne.symmetry.symmetry import Mixing, Span

NO_HEADS = "heads: neither names nor shapes tell their number; pass heads="
ROTARY = "channels of queries and keys, which may be rotated by position"
Place = tuple[str, int, int]  # tensor, axis, first entry


class Attention:
    """The axes of one attention that queries, keys, values and their outputs sit on."""

    def __init__(self) -> None:
        self.places: dict[str, list[Place]] = {}
        self.widths: dict[str, int] = {}

    def add(self, tensor: str, dim: int, size: int, parts: tuple[str, ...]) -> None:
        """Adds an axis.

        Args:
            tensor: Name of the tensor.
            dim: Number of the axis.
            size: Number of entries on the axis.
            parts: Parts that follow one another on the axis, in equal shares.

        Raises:
            UncertainError: The entries cannot be shared equally, or a part has another size than on other axes.
        """
        if size % len(parts):
            raise UncertainError(f"{tensor} has {size} entries on axis {dim}, which are not {len(parts)} equal shares")
        share = size // len(parts)
        for number, part in enumerate(parts):
            if self.widths.setdefault(part, share) != share:
                raise UncertainError(f"{tensor} has {share} entries of {part}, others have {self.widths[part]}")
            self.places.setdefault(part, []).append((tensor, dim, number * share))

    def claim(self, name: str, claims: Claims, heads: int | None, is_rotated: bool) -> None:
        """Claims heads and channels, channels first.

        Args:
            name: Name of the attention.
            claims: Claims of the network.
            heads: Number of query heads; None if unknown.
            is_rotated: Whether queries and keys may be rotated by position.

        Raises:
            UncertainError: Parts are missing or do not fit each other.
            SymmetryError: The widths cannot be divided into that many heads.
        """
        if set(self.places) != {"query", "key", "value", "out"}:
            raise UncertainError(f"{name} has {', '.join(sorted(self.places))}, expected query, key, value and out")
        width, narrow = self.widths["query"], self.widths["key"]
        if self.widths["value"] != narrow or self.widths["out"] != width:
            raise UncertainError(f"{name} has widths {self.widths}")
        for places in self.places.values():
            for tensor, dim, _ in places:
                claims.fix(tensor, dim, NO_HEADS if heads is None else ROTARY)
        if heads is None:
            return
        if heads < 1 or width % heads or narrow % (width // heads) or width % narrow:
            raise SymmetryError(
                f"{name}: heads is {heads}, which does not divide queries of width {width} and keys of width {narrow}"
            )
        channels, shared = width // heads, width // narrow  # `shared` query heads read one key head
        for head in range(narrow // channels):
            self._claim_channels(f"{name}.{head}", claims, head, channels, shared, is_rotated)
        for head in range(narrow // channels if shared > 1 else 0):
            for part in ("query", "out"):
                self._claim(f"{name}.{head}.queries", claims, part, shared, head * shared * channels, inner=channels)
        for part in self.places:
            inner = channels * (shared if part in ("query", "out") else 1)
            self._claim(f"{name}.heads", claims, part, narrow // channels, 0, inner=inner)

    def _claim_channels(
        self, name: str, claims: Claims, head: int, channels: int, shared: int, is_rotated: bool
    ) -> None:
        pairs = [("value", "out")] if is_rotated else [("key", "query"), ("value", "out")]
        for one, other in pairs:
            group, spans = f"{name}.{one}", []
            for part, repeats, power in ((one, 1, 1), (other, shared, -1)):
                spans += self._claim(
                    group, claims, part, channels, head * channels * repeats, outer=repeats, power=power
                )
            claims.allow(group, "scaling", "sign")
            if channels > 1:
                claims.mix(Mixing(group, channels, tuple(spans)))

    def _claim(
        self, group: str, claims: Claims, part: str, size: int, at: int, outer: int = 1, inner: int = 1, power: int = 0
    ) -> list[Span]:
        spans = [Span(tensor, dim, start + at, outer, inner, power) for tensor, dim, start in self.places[part]]
        for span in spans:
            claims.claim(group, size, span)
        return spans
