"""Hyper-representations: an autoencoder of weight tokens that learns without labels, and a linear head on its codes."""

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
from sne.lab.descent import descend
from sne.lab.neural.token_autoencoder import TokenAutoencoder, TokenWindows, contrastive_loss
from sne.lab.neural.weight_tokens import TokenPlan, TokenUnits, plan_tokens
from sne.symmetry import Symmetry, apply_flat, sample, symmetry_of
from sne.zoo import Zoo

_UNIT = 0.1  # part of the mean size from which on weights are compressed: initial spreads differ by decades
_LARGEST = 1e6
_BLOCK = 32  # windows that are encoded at a time when nothing is learned


class _ZooTokens:
    """The tokens of a zoo's networks, and of copies that compute the same."""

    def __init__(self, zoo: Zoo, token_size: int, units: TokenUnits) -> None:
        self._zoo = zoo
        self._token_size = token_size
        self._units = units
        self._plans: dict[str, TokenPlan] = {}
        self._symmetries: dict[str, Symmetry] = {}

    def plan(self, row: int) -> TokenPlan:
        """How a row is cut."""
        layout = self._zoo.layout(row)
        if layout.id not in self._plans:
            self._plans[layout.id] = plan_tokens(self._zoo.network(row).layers, layout, self._token_size)
        return self._plans[layout.id]

    def read(self, row: int, window: TokenPlan) -> Float[Tensor, "tokens token_size"]:
        """A window of a row's weights, compressed to a few units."""
        return self._compress(self._zoo.stored(row), window)

    def read_copy(self, row: int, window: TokenPlan, generator: torch.Generator) -> Float[Tensor, "tokens token_size"]:
        """The same window of a copy of the network, its neurons in another order."""
        drawn = sample(self._symmetry(row), generator)
        moved = apply_flat(drawn, self._zoo.layout(row).slots, self._zoo.weights(row))
        return self._compress(moved, window)

    def _compress(self, vector: Tensor, window: TokenPlan) -> Tensor:
        units = _UNIT * self._units.of(window)[:, None]
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
    """Logistic regression for classes, else ridge regression whose penalty is chosen by leaving one out."""
    model: Any = LogisticRegression(max_iter=2000) if kind == "class" else RidgeCV(np.logspace(-2, 4, 13))
    pipeline: Any = make_pipeline(StandardScaler(), model)
    return pipeline


@final
class HyperRepBaseline(Baseline):
    """An autoencoder of the training networks' weights, trained without labels; a linear head on its codes.

    Networks of any architecture are read as tokens. A step sees one window of each network; a network's features are
    mean and deviation of its tokens' codes: of all tokens, of its first level's, of its last level's.

    Args:
        token_size: entries of a token.
        window: tokens that see each other.
        most_windows: of a network; of a longer one so many are read, evenly spread.
        dim: width of the transformers.
        code_size: entries of a token's code.
        depth: transformer blocks before the codes, and as many after them.
        heads: of attention.
        epochs: over the training networks.
        batch_size: networks a step.
        learning_rate: the highest; it rises over the first steps and falls like a cosine.
        contrast: weight of the term that brings together a network and a copy with permuted neurons, against the
            others of its batch; 0 for none.
        noise: deviation of what is added to tokens that are to be reconstructed.
        device: where it is trained.

    Source: Schuerholt et al., "Self-Supervised Representation Learning on Neural Network Weights", arXiv 2110.15288,
        and "Towards Scalable and Versatile Weight Space Learning" (SANE), arXiv 2406.09997.
    Differs: sizes and features are ours; copies are drawn from each network's own symmetry; weights are divided by a
        tenth of the mean size of their layer type and level and pass through asinh.
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
        """Learned numbers of the autoencoder, once fitted."""
        return sum(p.numel() for p in self._model.parameters())

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Trains the autoencoder on the rows' weights, then the head on their targets."""
        self.kind = kind
        self._units = TokenUnits()
        tokens = self._tokens(zoo)
        for row in rows.tolist():
            self._units.add(tokens.plan(row), zoo.stored(row))
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._model = TokenAutoencoder(**self.sizes).to(self.device)
            self._train(tokens, rows, torch.Generator().manual_seed(seed))
        self._head = linear_head(kind)
        self._head.fit(self.features(zoo, rows), targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts from the codes of the rows' weights."""
        return clipped(self._head.predict(self.features(zoo, rows)), self.kind)

    def features(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the head reads: [rows, 6 * code_size].

        Args:
            zoo: where the rows are.
            rows: row numbers.
        """
        tokens = self._tokens(zoo)
        return np.stack([self._features(tokens, row) for row in rows.tolist()])

    def _tokens(self, zoo: Zoo) -> _ZooTokens:
        return _ZooTokens(zoo, self.sizes["token_size"], self._units)

    @torch.inference_mode()
    def _features(self, tokens: _ZooTokens, row: int) -> NDArray[np.float64]:
        plan = tokens.plan(row)
        count = -(-len(plan) // self.window)
        chosen = range(count)
        if count > self.most_windows:
            chosen = [round(place) for place in np.linspace(0, count - 1, self.most_windows)]
        windows = [plan.window(number * self.window, self.window) for number in chosen]
        found = []
        for start in range(0, len(windows), _BLOCK):
            some = windows[start : start + _BLOCK]
            batch = TokenWindows.join(some, [tokens.read(row, one) for one in some], self.device)
            places = self._model.places(batch.layer_types, batch.positions)
            found.append(self._model.encode(batch.tokens, places, batch.is_token)[batch.is_token].cpu())
        codes = torch.cat(found).double()
        levels = torch.cat([one.levels for one in windows])
        sets = codes, codes[levels == levels.min()], codes[levels == levels.max()]
        return torch.cat([moment for one in sets for moment in (one.mean(0), one.std(0, unbiased=False))]).numpy()

    def _train(self, tokens: _ZooTokens, rows: NDArray[np.int64], generator: torch.Generator) -> None:
        self._model.train()
        descend(
            list(self._model.parameters()),
            lambda places: self._loss(tokens, rows[places].tolist(), generator),
            len(rows),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            generator=generator,
        )
        self._model.eval()

    def _loss(self, tokens: _ZooTokens, rows: list[int], generator: torch.Generator) -> Float[Tensor, ""]:
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
        places = self._model.places(batch.layer_types, batch.positions)
        noisy = batch.tokens + self.noise * torch.randn_like(batch.tokens) * batch.mask
        codes = self._model.encode(noisy, places, batch.is_token)
        guesses = self._model.decode(codes, places, batch.is_token)
        loss = (guesses - batch.tokens)[batch.mask].square().mean()
        if self.contrast and len(rows) > 1:
            shares = batch.is_token[:, :, None] / batch.is_token.sum(1)[:, None, None]
            seen = normalize(self._model.project((codes * shares).sum(1)), dim=1)
            loss = loss + self.contrast * contrastive_loss(*seen.chunk(2))
        return loss
