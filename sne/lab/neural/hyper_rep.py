"""Hyper-representations: an autoencoder of weight tokens, trained without labels, and a linear head on its codes."""

from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from sne.baselines import Baseline
from sne.baselines.estimators import Estimator, clipped
from sne.lab.descent import descend, seeded
from sne.lab.neural.token_autoencoder import TokenAutoencoder, TokenWindows, contrastive_loss
from sne.lab.neural.weight_tokens import TokenPlan, TokenScales, plan_tokens
from sne.symmetry import Symmetry, apply_flat, sample, symmetry_of
from sne.zoo import Zoo

_LINEAR_UP_TO = 0.1  # share of the mean weight size above which asinh compresses; initial sizes differ by decades
_LARGEST = 1e6
_WINDOWS_PER_PASS = 32  # when nothing is learned


class _ZooTokens:
    """Reads the tokens of a zoo's networks, and of copies that compute the same function."""

    def __init__(self, zoo: Zoo, token_size: int, scales: TokenScales) -> None:
        self._zoo = zoo
        self._token_size = token_size
        self._scales = scales
        self._plans: dict[str, TokenPlan] = {}
        self._symmetries: dict[str, Symmetry] = {}

    def plan(self, row: int) -> TokenPlan:
        """Returns how the networks of a row's layout are cut into tokens."""
        layout = self._zoo.layout(row)
        if layout.id not in self._plans:
            self._plans[layout.id] = plan_tokens(self._zoo.network(row).layers, layout, self._token_size)
        return self._plans[layout.id]

    def read(self, row: int, window: TokenPlan) -> Float[Tensor, "tokens token_size"]:
        """Reads a window of a row's weights, scaled and compressed."""
        return self._compress(self._zoo.stored(row), window)

    def read_copy(self, row: int, window: TokenPlan, generator: torch.Generator) -> Float[Tensor, "tokens token_size"]:
        """Reads the same window from a copy of the network whose neurons are permuted at random."""
        drawn = sample(self._symmetry(row), generator)
        moved = apply_flat(drawn, self._zoo.layout(row).slots, self._zoo.weights(row))
        return self._compress(moved, window)

    def _compress(self, vector: Tensor, window: TokenPlan) -> Tensor:
        units = _LINEAR_UP_TO * self._scales.of(window)[:, None]
        return (window.read(vector) / units).clamp(-_LARGEST, _LARGEST).asinh()

    def _symmetry(self, row: int) -> Symmetry:
        kept = self._zoo.symmetry(row)
        if kept is not None:
            return kept
        key = self._zoo.layout(row).id
        if key not in self._symmetries:
            self._symmetries[key] = symmetry_of(self._zoo.network(row))
        return self._symmetries[key]


def linear_head(kind: str) -> Estimator:
    """Returns logistic regression for classes, else ridge regression with the penalty chosen by leave-one-out error.

    Args:
        kind: Kind of the predicted property: "fraction", "real" or "class".
    """
    model: Any = LogisticRegression(max_iter=2000) if kind == "class" else RidgeCV(np.logspace(-2, 4, 13))
    pipeline: Any = make_pipeline(StandardScaler(), model)
    return pipeline


@final
class HyperRepBaseline(Baseline):
    """Trains an autoencoder on the weights of the training networks, without labels, and a linear head on its codes.

    Networks of any architecture are read as tokens. A training step reads one window of tokens per network. The
    features of a network are the mean and the standard deviation of its tokens' codes, over all tokens, over those of
    its first level and over those of its last level.

    Args:
        token_size: Weights per token.
        window: Tokens that attend to each other.
        most_windows: Maximum number of windows read per network; in longer networks they are spread evenly.
        dim: Width of the transformers.
        code_size: Length of a token's code.
        depth: Number of transformer blocks of the encoder, and of the decoder.
        heads: Number of attention heads.
        epochs: Passes over the training networks.
        batch_size: Networks per step.
        learning_rate: Peak learning rate; see `sne.lab.descent.one_cycle`.
        contrast: Weight of the contrastive term, which pulls a network and a copy with permuted neurons together and
            pushes the other networks of the batch away; 0 turns it off.
        noise: Standard deviation of the noise added to the tokens that the autoencoder reconstructs.
        device: Device of the training.

    Source: Schuerholt et al., "Self-Supervised Representation Learning on Neural Network Weights", arXiv 2110.15288,
        and "Towards Scalable and Versatile Weight Space Learning" (SANE), arXiv 2406.09997.
    Differs: sizes and features are ours; copies are drawn from each network's own symmetry; weights are divided by a
        tenth of the mean size of their layer type and level and passed through asinh.
    """

    def __init__(
        self,
        *,
        token_size: int = 64,
        window: int = 128,
        most_windows: int = 8,
        dim: int = 64,
        code_size: int = 32,
        depth: int = 2,
        heads: int = 4,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        contrast: float = 1.0,
        noise: float = 0.1,
        device: str = "cpu",
    ) -> None:
        self.sizes = {"token_size": token_size, "dim": dim, "code_size": code_size, "depth": depth, "heads": heads}
        self.window = window
        self.most_windows = most_windows
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.contrast = contrast
        self.noise = noise
        self.device = torch.device(device)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the autoencoder, once fitted."""
        return sum(p.numel() for p in self._model.parameters())

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Trains the autoencoder on the weights of the given rows, then the head on their targets."""
        self.kind = kind
        self._scales = TokenScales()
        tokens = self._tokens(zoo)
        for row in rows.tolist():
            self._scales.add(tokens.plan(row), zoo.stored(row))
        generator = torch.Generator().manual_seed(seed)
        with seeded(seed, self.device):
            self._model = TokenAutoencoder(**self.sizes).to(self.device)
            descend(
                [self._model],
                lambda batch: self._loss(tokens, rows[batch].tolist(), generator),
                len(rows),
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                generator=generator,
            )
        self._head = linear_head(kind)
        self._head.fit(self.features(zoo, rows), targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts from the codes of the weights of the given rows."""
        return clipped(self._head.predict(self.features(zoo, rows)), self.kind)

    def features(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the inputs of the head: [rows, 6 * code_size].

        Args:
            zoo: Zoo of the networks.
            rows: Row numbers.
        """
        tokens = self._tokens(zoo)
        return np.stack([self._features(tokens, row) for row in rows.tolist()])

    def _tokens(self, zoo: Zoo) -> _ZooTokens:
        return _ZooTokens(zoo, self.sizes["token_size"], self._scales)

    @torch.inference_mode()
    def _features(self, tokens: _ZooTokens, row: int) -> NDArray[np.float64]:
        plan = tokens.plan(row)
        count = -(-len(plan) // self.window)
        chosen = range(count)
        if count > self.most_windows:
            chosen = [round(number) for number in np.linspace(0, count - 1, self.most_windows)]
        windows = [plan.window(number * self.window, self.window) for number in chosen]
        found = []
        for start in range(0, len(windows), _WINDOWS_PER_PASS):
            some = windows[start : start + _WINDOWS_PER_PASS]
            batch = TokenWindows.join(some, [tokens.read(row, one) for one in some], self.device)
            positions = self._model.encode_positions(batch.layer_types, batch.positions)
            found.append(self._model.encode(batch.tokens, positions, batch.is_token)[batch.is_token].cpu())
        codes = torch.cat(found).double()
        levels = torch.cat([one.levels for one in windows])
        sets = codes, codes[levels == levels.min()], codes[levels == levels.max()]
        return torch.cat([moment for one in sets for moment in (one.mean(0), one.std(0, unbiased=False))]).numpy()

    def _loss(self, tokens: _ZooTokens, rows: list[int], generator: torch.Generator) -> Float[Tensor, ""]:
        """Returns the reconstruction error of one random window per network, plus the contrastive term."""
        windows = []
        for row in rows:
            plan = tokens.plan(row)
            last = max(len(plan) - self.window, 0)
            windows.append(plan.window(int(torch.randint(last + 1, (), generator=generator)), self.window))
        values = [tokens.read(row, one) for row, one in zip(rows, windows, strict=True)]
        if self.contrast:
            values += [tokens.read_copy(row, one, generator) for row, one in zip(rows, windows, strict=True)]
            windows = windows * 2
        batch = TokenWindows.join(windows, values, self.device)
        positions = self._model.encode_positions(batch.layer_types, batch.positions)
        noisy = batch.tokens + self.noise * torch.randn_like(batch.tokens) * batch.mask
        codes = self._model.encode(noisy, positions, batch.is_token)
        decoded = self._model.decode(codes, positions, batch.is_token)
        loss = (decoded - batch.tokens)[batch.mask].square().mean()
        if self.contrast and len(rows) > 1:
            shares = batch.is_token.to(codes)[:, :, None] / batch.is_token.sum(1)[:, None, None]
            projected = normalize(self._model.project((codes * shares).sum(1)), dim=1)
            loss = loss + self.contrast * contrastive_loss(*projected.chunk(2))
        return loss
