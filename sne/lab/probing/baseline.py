"""A predictor that asks networks learned questions, and reads their answers."""

from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, interpolate, smooth_l1_loss

from sne.baselines import Baseline
from sne.errors import CannotTakeError
from sne.lab.descent import descend
from sne.lab.probing.modules import InputShape, input_shape
from sne.lab.probing.probes import DeepLinearProbes, FreeProbes
from sne.lab.probing.running import NetworkRunner
from sne.zoo import Zoo

_BLOCK = 64  # networks that run at a time when nothing is learned


def answer_features(answers: Float[Tensor, "networks probes outputs"]) -> Float[Tensor, "networks features"]:
    """Answers as numbers of order 1, whatever the size of logits.

    Args:
        answers: logits of classifiers, or the values of networks with one output.

    Returns:
        For every probe the outputs less their mean, their size as by a logarithm; then their softmax. Of a network
        with one output the output itself, in place of both.
    """
    if answers.shape[2] == 1:
        return answers.flatten(1).asinh()
    centred = answers - answers.mean(2, keepdim=True)
    return torch.cat([centred.asinh(), answers.softmax(2)], 2).flatten(1)


def probe_features(
    zoo: Zoo,
    rows: NDArray[np.int64],
    probes: Float[Tensor, "probes ..."],
    *,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """What networks answer to probes, as features.

    Args:
        zoo: where the rows are.
        rows: row numbers.
        probes: the inputs, such as `ProbingBaseline.probes` of a fitted baseline, or real images.
        device: where the networks run.

    Returns:
        [rows, features], see `answer_features`.

    Raises:
        CannotTakeError: a network cannot be run on them.
    """
    runner = NetworkRunner(zoo, tuple(probes.shape[1:]), device)
    runner.outputs(rows.tolist())
    return _features(runner, rows, probes.to(device)).cpu().numpy()


@torch.inference_mode()
def _features(
    runner: NetworkRunner, rows: NDArray[np.int64], probes: Float[Tensor, "probes ..."]
) -> Float[Tensor, "networks features"]:
    blocks = [rows[start : start + _BLOCK].tolist() for start in range(0, len(rows), _BLOCK)]
    return torch.cat([answer_features(runner(block, probes)) for block in blocks])


class _Reader(nn.Sequential):
    """From features of answers to what is predicted."""

    def __init__(self, features: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(features, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )


@final
class ProbingBaseline(Baseline):
    """Learned inputs are run through the networks themselves, a perceptron reads the outputs; both learn together.

    It needs more than weights: which family made a network and with which hyper-parameters, so it takes networks of
    zoos whose families are known here alone. The inputs are learned; no data set is looked at.

    Args:
        num_probes: how many inputs.
        generator: "deep_linear", or "free" for inputs whose pixels are learned by themselves; of points always that.
        epochs: over the training networks.
        batch_size: networks a step.
        learning_rate: the highest; it rises over the first steps and falls like a cosine.
        hidden: width of the perceptron.
        dropout: in the perceptron.
        side: height and width of the images; None: see `input_shape`.
        device: where networks run.

    Source: Kahana et al., "Deep Linear Probe Generators for Weight Space Learning", arXiv 2410.10811.
    Differs: sizes, schedule and the features of answers are ours; so is that probes learned on networks of one side of
        images are brought to the side of others.
    """

    def __init__(
        self,
        *,
        num_probes: int = 64,
        generator: str = "deep_linear",
        epochs: int = 15,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        hidden: int = 256,
        dropout: float = 0.3,
        side: int | None = None,
        device: str = "cpu",
    ) -> None:
        if generator not in ("deep_linear", "free"):
            raise ValueError(f"generator {generator!r} is not known, expected deep_linear or free")
        self.num_probes = num_probes
        self.generator = generator
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.hidden = hidden
        self.dropout = dropout
        self.side = side
        self.device = torch.device(device)

    @property
    def probes(self) -> Float[Tensor, "probes ..."]:
        """The learned inputs."""
        with torch.no_grad():
            return self._probes().detach()

    @property
    def num_parameters(self) -> int:
        """Learned numbers of probes and reader, once fitted."""
        return sum(p.numel() for module in (self._probes, self._reader) for p in module.parameters())

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Learns probes and reader from the rows' networks.

        Raises:
            CannotTakeError: a network cannot be run, or they share no input or output shape.
        """
        self.kind = kind
        shape = input_shape(zoo, rows, self.side)
        runner = NetworkRunner(zoo, shape, self.device)
        outputs = runner.outputs(rows.tolist())
        wanted = self._encode(targets)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._probes = self._make_probes(shape).to(self.device)
            features = self.num_probes * (outputs if outputs == 1 else 2 * outputs)
            width = int(targets.max()) + 1 if kind == "class" else 1
            self._reader = _Reader(features, self.hidden, width, self.dropout).to(self.device)
            self._shape, self._outputs = shape, outputs
            self._train(runner, rows, wanted)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Asks the rows' networks. Those that read images of another side alone are asked enlarged or reduced probes.

        Raises:
            CannotTakeError: a network cannot be run on the learned probes.
        """
        shape = self._readable_shape(zoo, rows)
        runner = NetworkRunner(zoo, shape, self.device)
        outputs = runner.outputs(rows.tolist())
        if outputs != self._outputs:
            raise CannotTakeError(f"{zoo.path}: networks have {outputs} outputs, expected {self._outputs}")
        probes = self.probes
        if shape != self._shape:
            probes = interpolate(probes, size=shape[1:], mode="bilinear", antialias=True)
        features = _features(runner, rows, probes)
        with torch.inference_mode():
            values = self._reader(features).cpu()
        if self.kind == "class":
            return values.argmax(1).numpy()
        values = values[:, 0].double()
        return (values.sigmoid() if self.kind == "fraction" else values * self._spread + self._middle).numpy()

    def _readable_shape(self, zoo: Zoo, rows: NDArray[np.int64]) -> InputShape:
        """That of the probes where the networks can read it, else the one that differs from it in the side alone."""
        try:
            NetworkRunner(zoo, self._shape, self.device).outputs(rows.tolist())
        except CannotTakeError:
            try:
                shape = input_shape(zoo, rows)
            except CannotTakeError:
                shape = ()
            if len(self._shape) != 3 or len(shape) != 3 or shape[0] != self._shape[0]:
                raise
            return shape
        return self._shape

    def _make_probes(self, shape: InputShape) -> nn.Module:
        if self.generator == "free" or len(shape) != 3:
            return FreeProbes(shape, self.num_probes)
        return DeepLinearProbes(shape, self.num_probes)

    def _encode(self, targets: NDArray[Any]) -> Tensor:
        if self.kind == "class":
            return torch.from_numpy(np.asarray(targets, dtype=np.int64)).to(self.device)
        values = np.asarray(targets, dtype=np.float64)
        if self.kind == "real":
            self._middle, self._spread = float(values.mean()), float(values.std()) or 1.0
            values = (values - self._middle) / self._spread
        return torch.from_numpy(values).float().to(self.device)

    def _train(self, runner: NetworkRunner, rows: NDArray[np.int64], wanted: Tensor) -> None:
        def loss(places: NDArray[np.int64]) -> Float[Tensor, ""]:
            answers = runner(rows[places].tolist(), self._probes())
            return self._loss(self._reader(answer_features(answers)), wanted[torch.from_numpy(places).to(self.device)])

        self._reader.train()
        descend(
            [*self._probes.parameters(), *self._reader.parameters()],
            loss,
            len(rows),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        self._reader.eval()

    def _loss(self, guesses: Float[Tensor, "networks outputs"], wanted: Tensor) -> Float[Tensor, ""]:
        if self.kind == "class":
            return cross_entropy(guesses, wanted)
        if self.kind == "fraction":
            return binary_cross_entropy_with_logits(guesses[:, 0], wanted)
        return smooth_l1_loss(guesses[:, 0], wanted)
