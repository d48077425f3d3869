"""The baseline that feeds learned inputs to networks and reads their outputs."""

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, interpolate, smooth_l1_loss

from sne.baselines import Baseline
from sne.errors import CannotTakeError
from sne.lab.descent import descend, seeded
from sne.lab.probing.running import InputShape, NetworkRunner, input_shape
from sne.nn import in_float32
from sne.zoo import Zoo

_NETWORKS_PER_PASS = 64  # when nothing is learned


@final
class FreeProbes(nn.Module):
    """Inputs whose every entry is a parameter of its own.

    Args:
        shape: Shape of one input.
        num_probes: Number of inputs.

    Source: Herrmann et al., "Learning Useful Representations of Recurrent Neural Network Weight Matrices",
        arXiv 2403.11998, functionalist probing.
    Differs: the probes are the same for all networks and do not depend on their outputs.
    """

    @in_float32()
    def __init__(self, shape: Sequence[int], num_probes: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(num_probes, *shape))

    def forward(self) -> Float[Tensor, "probes ..."]:
        """Returns all probes."""
        return self.values


@final
class DeepLinearProbes(nn.Module):
    """Images that a deep linear generator makes from learned codes, so that neighbouring pixels are learned together.

    The generator starts at a quarter of the height and width and doubles both twice, with a convolution after each
    doubling. It contains no nonlinearity. At initialisation, the pixels of all probes have variance 1.

    Args:
        shape: Channels, height and width of one image.
        num_probes: Number of images.
        code_size: Length of a code.
        channels: Channels inside the generator.

    Source: Kahana et al., arXiv 2410.10811, section 4 (a deep linear generator, shared by all probes).
    Differs: the number and the sizes of the layers are ours.
    """

    @in_float32()
    def __init__(self, shape: Sequence[int], num_probes: int, *, code_size: int = 32, channels: int = 16) -> None:
        super().__init__()
        self.size = (shape[1], shape[2])
        self.start = (channels, math.ceil(shape[1] / 4), math.ceil(shape[2] / 4))
        self.codes = nn.Parameter(torch.randn(num_probes, code_size))
        self.first = nn.Linear(code_size, math.prod(self.start))
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, shape[0], 3, padding=1)
        with torch.no_grad():
            spread = self().std()
            for parameter in (self.last.weight, self.last.bias):
                assert parameter is not None
                parameter /= spread

    def forward(self) -> Float[Tensor, "probes channels height width"]:
        """Returns all probes."""
        images = self.first(self.codes).unflatten(1, self.start)
        images = self.middle(interpolate(images, scale_factor=2))
        return self.last(interpolate(images, size=self.size))


class _Reader(nn.Sequential):
    """The perceptron that maps features of outputs to predictions."""

    @in_float32()
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


def output_features(outputs: Float[Tensor, "networks probes outputs"]) -> Float[Tensor, "networks features"]:
    """Turns the outputs of networks into features of order 1, whatever the size of the logits.

    Args:
        outputs: Logits of classifiers, or the values of networks with a single output.

    Returns:
        For each probe, the centred outputs passed through asinh, followed by their softmax. For networks with a
        single output, asinh of that output only.

    Example:
        >>> output_features(torch.zeros(5, 4, 10)).shape
        torch.Size([5, 80])
    """
    if outputs.shape[2] == 1:
        return outputs.flatten(1).asinh()
    centred = outputs - outputs.mean(2, keepdim=True)
    return torch.cat([centred.asinh(), outputs.softmax(2)], 2).flatten(1)


@torch.inference_mode()
def probe(
    runner: NetworkRunner, rows: NDArray[np.int64], probes: Float[Tensor, "probes ..."]
) -> Float[Tensor, "networks features"]:
    """Runs networks on given inputs and returns features of their outputs; see `output_features`.

    Args:
        runner: Runner of the networks' zoo.
        rows: Row numbers of the networks in the zoo.
        probes: Inputs, such as `ProbingBaseline.probes` of a fitted baseline.

    Raises:
        CannotTakeError: If a network cannot be run on the inputs.
    """
    starts = range(0, len(rows), _NETWORKS_PER_PASS)
    passes = [rows[start : start + _NETWORKS_PER_PASS].tolist() for start in starts]
    return torch.cat([output_features(runner(some, probes)) for some in passes])


@final
class ProbingBaseline(Baseline):
    """Feeds learned inputs to the networks themselves and reads their outputs with a perceptron; both are trained.

    Running a network needs its module, which follows from its family and hyper-parameters. The baseline therefore
    takes networks of zoos whose families are known here. The inputs are learned; no data set is read.

    Args:
        num_probes: Number of inputs.
        generator: "deep_linear", or "free" for inputs whose pixels are independent parameters. Networks that read
            points instead of images always get free probes.
        epochs: Passes over the training networks.
        batch_size: Networks per step.
        learning_rate: Peak learning rate; see `sne.lab.descent.one_cycle`.
        hidden: Width of the perceptron.
        dropout: Dropout rate in the perceptron.
        side: Height and width of the images; found by `input_shape` if None.
        device: Device on which the networks run.

    Source: Kahana et al., "Deep Linear Probe Generators for Weight Space Learning", arXiv 2410.10811.
    Differs: sizes, schedule and features of outputs are ours, and probes learned for images of one size are resized
        for networks that read another.
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
        """The learned inputs, once fitted."""
        with torch.no_grad():
            return self._probes().detach()

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters of probes and perceptron, once fitted."""
        return sum(p.numel() for module in (self._probes, self._reader) for p in module.parameters())

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Trains probes and perceptron on the networks of the given rows.

        Raises:
            CannotTakeError: If a network cannot be run, or the networks share no input shape or number of outputs.
        """
        self.kind = kind
        shape = input_shape(zoo, rows, self.side)
        runner = NetworkRunner(zoo, shape, self.device)
        outputs = runner.num_outputs(rows.tolist())
        wanted = self._encode(targets)
        with seeded(seed, self.device):
            self._probes = self._make_probes(shape).to(self.device)
            features = self.num_probes * (outputs if outputs == 1 else 2 * outputs)
            width = int(targets.max()) + 1 if kind == "class" else 1
            self._reader = _Reader(features, self.hidden, width, self.dropout).to(self.device)
            self._shape, self._outputs = shape, outputs
            self._train(runner, rows, wanted)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts for the networks of the given rows.

        Probes are resized for networks that only read images of another size.

        Raises:
            CannotTakeError: If a network cannot be run on the learned probes.
        """
        shape = self._readable_shape(zoo, rows)
        runner = NetworkRunner(zoo, shape, self.device)
        outputs = runner.num_outputs(rows.tolist())
        if outputs != self._outputs:
            raise CannotTakeError(f"{zoo.path}: networks have {outputs} outputs, expected {self._outputs}")
        probes = self.probes
        if shape != self._shape:
            probes = interpolate(probes, size=shape[1:], mode="bilinear", antialias=True)
        features = probe(runner, rows, probes)
        with torch.inference_mode():
            values = self._reader(features).cpu()
        if self.kind == "class":
            return values.argmax(1).numpy()
        values = values[:, 0].double()
        return (values.sigmoid() if self.kind == "fraction" else values * self._spread + self._middle).numpy()

    def _readable_shape(self, zoo: Zoo, rows: NDArray[np.int64]) -> InputShape:
        """Returns the shape of the probes if the networks can read it, else a shape that differs in size only."""
        try:
            NetworkRunner(zoo, self._shape, self.device).num_outputs(rows.tolist())
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
        def loss(batch: NDArray[np.int64]) -> Float[Tensor, ""]:
            outputs = runner(rows[batch].tolist(), self._probes())
            return self._loss(self._reader(output_features(outputs)), wanted[torch.from_numpy(batch).to(self.device)])

        descend(
            [self._probes, self._reader],
            loss,
            len(rows),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )

    def _loss(self, predictions: Float[Tensor, "networks outputs"], wanted: Tensor) -> Float[Tensor, ""]:
        if self.kind == "class":
            return cross_entropy(predictions, wanted)
        if self.kind == "fraction":
            return binary_cross_entropy_with_logits(predictions[:, 0], wanted)
        return smooth_l1_loss(predictions[:, 0], wanted)
