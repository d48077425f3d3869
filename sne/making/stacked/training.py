"""Training a stack of networks of one shape, and which networks can be in one stack."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sne.making.augmentation import augment
from sne.making.families.blocks import ByteDropout
from sne.making.hashing import key_of, mask_keys
from sne.making.images import ImageSet
from sne.making.optimisers import StackedOptimiser
from sne.making.randomness import Seeds, dropouts
from sne.making.recipe import Recipe, RunId
from sne.making.running import Kept, TrainedRun, Trainee, prepare_run
from sne.making.stacked.layers import use_stackable_layers
from sne.making.stacked.tasks import stack_tasks
from sne.making.stacked.weights import StackedWeights
from sne.zoo.store.columns import Value
from sne.zoo.store.writing import LARGEST_WEIGHT

FREE = ("learning_rate", "weight_decay", "dropout", "init", "init_std", "train_fraction")
"""Hyper-parameters that may differ within a stack. All others decide shapes, kernels or the optimiser."""


def group_runs(
    recipe: Recipe, images: ImageSet, largest: int = 1024
) -> Callable[[Sequence[RunId]], list[tuple[RunId, ...]]]:
    """Returns a grouping of the networks of a zoo into stacks of one shape.

    Args:
        recipe: Recipe of the zoo.
        images: Images of the zoo; their number limits the batch size.
        largest: Largest number of networks per stack.

    Returns:
        A function from networks to the stacks that hold them. Stacks are cut from all networks of the zoo, so that a
        network is in the same stack after an interruption: the last bits of its weights depend on the stack.
    """

    def group(run_ids: Sequence[RunId]) -> list[tuple[RunId, ...]]:
        wanted = set(run_ids)
        stacks: dict[tuple[object, ...], list[RunId]] = {}
        for run_id in recipe.run_ids():
            stacks.setdefault(_shape(recipe, run_id, images), []).append(run_id)
        return [
            tuple(stack[start : start + largest])
            for stack in stacks.values()
            for start in range(0, len(stack), largest)
            if not wanted.isdisjoint(stack[start : start + largest])
        ]

    return group


def _shape(recipe: Recipe, run_id: RunId, images: ImageSet) -> tuple[object, ...]:
    """Returns the settings that the networks of a stack have in common."""
    family = recipe.family(run_id.family)
    drawn = family.sample(Seeds(run_id.seeds(recipe.seed)).hyperparameters())
    fixed = tuple((name, value) for name, value in drawn.items() if name not in FREE and name not in family.labels)
    if "train_fraction" not in drawn:
        return run_id.family, fixed
    examples = max(round(drawn["train_fraction"] * len(images.x_train)), 1)
    batch_size = min(drawn["batch_size"], examples)
    return run_id.family, fixed, batch_size, examples // batch_size if recipe.unit == "epochs" else 0


_CHECK_EVERY = 50


def train_stack(
    recipe: Recipe, run_ids: Sequence[RunId], images: ImageSet, *, device: str = "cuda"
) -> Iterator[tuple[RunId, TrainedRun]]:
    """Trains networks of one shape together; a `Trainer`.

    Each network has its own initial weights, data order, masks, learning rate and weight decay. Up to rounding, the
    result is that of `train_run` with `counted` draws; only rounding depends on the stack.

    Args:
        recipe: Recipe of the zoo.
        run_ids: Identities of the runs, which form one group of `group_runs`.
        images: Image set of the recipe.
        device: Device to train on.

    Yields:
        Each identity with its finished run; `wall_time` is its share of the time of the stack.
    """
    trainees = [prepare_run(recipe, run_id, images) for run_id in run_ids]
    yield from zip(run_ids, _Stack(trainees, device).train(), strict=True)


class _Stack:
    """The networks of a stack while they are trained."""

    def __init__(self, trainees: Sequence[Trainee], device: str) -> None:
        first = trainees[0]
        self._trainees = trainees
        self._weights = StackedWeights([trainee.module for trainee in trainees], device)
        self._task = stack_tasks([trainee.task for trainee in trainees], device)
        self._template = copy.deepcopy(first.module).to(device)
        use_stackable_layers(self._template)
        self._dropouts = dropouts(self._template)
        self._thresholds = self._stack_thresholds(device)
        self._data_keys = torch.cat([key_of(t.seeds.data, device) for t in trainees])
        self._mask_keys = torch.cat([key_of(t.seeds.masks, device) for t in trainees])
        self._optimiser = StackedOptimiser(
            first.hyperparameters["optimizer"],
            self._weights.flat,
            *(self._column(name, device) for name in ("learning_rate", "weight_decay")),
        )
        self._moving = torch.ones(len(trainees), dtype=torch.bool, device=device)
        self._diverged = torch.zeros_like(self._moving)
        self._ended = torch.full((len(trainees),), first.last_step, device=device)
        self._kept: list[list[Kept]] = [[] for _ in trainees]
        self._started = time.perf_counter()

    def train(self) -> list[TrainedRun]:
        """Trains all networks and returns their runs."""
        first = self._trainees[0]
        if 0 in first.keep:
            self._keep(0, self._moving)
        for step in range(1, first.last_step + 1):
            self._step(step)
            if step in first.keep:
                self._keep(step, self._moving)
            if step % _CHECK_EVERY == 0 and not bool(self._moving.any()):
                break
        self._keep_ended()
        self._keep_at_least_one()
        return self._finish()

    def _step(self, step: int) -> None:
        first = self._trainees[0]
        self._template.train()
        inputs, targets = self._task.batch(self._data_keys, first.batch_size, step)
        if first.augmentation != "none":
            inputs = augment(inputs, self._mask_keys, first.augmentation, step)
        masks = [mask_keys(self._mask_keys, step, layer.salt) for layer in self._dropouts]

        def loss(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            inputs: Tensor,
            targets: Tensor,
            masks: list[Tensor],
            thresholds: list[Tensor],
        ) -> Tensor:
            for layer, key, threshold in zip(self._dropouts, masks, thresholds, strict=True):
                layer.key, layer.threshold = key, threshold
            outputs = functional_call(self._template, (parameters, buffers), (inputs,))
            return first.task.loss(outputs, targets)

        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot run under vmap everywhere
            losses = vmap(loss)(
                self._weights.parameters, self._weights.buffers, inputs, targets, masks, self._thresholds
            )
        gradients = self._weights.gradients(losses)
        self._end(step, losses.detach())
        self._optimiser.step(gradients, self._moving[:, None] * first.rate_factor(step))

    def _end(self, step: int, losses: Float[Tensor, " networks"]) -> None:
        """Stops networks whose loss is not finite, or small enough. They keep the weights from before this step."""
        diverged = ~losses.isfinite()
        ends = diverged
        stop_loss = self._trainees[0].family.stop_loss
        if stop_loss is not None:
            ends = ends | (losses < stop_loss)
        ends = ends & self._moving
        self._diverged |= ends & diverged
        self._ended = torch.where(ends, step - 1, self._ended)
        self._moving = self._moving & ~ends

    def _keep(self, step: int, which: Bool[Tensor, " networks"]) -> None:
        """Keeps a checkpoint of some networks."""
        vectors, measured = self._weights.vectors(), self._measure()
        seconds = (time.perf_counter() - self._started) / len(self._trainees)
        sane = (vectors.abs() <= LARGEST_WEIGHT).all(1) & which.cpu()
        for row in sane.nonzero().flatten().tolist():
            self._kept[row].append(Kept(step, vectors[row].clone(), {**measured[row], "wall_time": seconds}))

    def _keep_ended(self) -> None:
        """Keeps the last weights of networks that ended early, if they are not kept yet."""
        missing = [
            not still and (not kept or kept[-1].step < ended)
            for still, ended, kept in zip(self._moving.tolist(), self._ended.tolist(), self._kept, strict=True)
        ]
        if any(missing):
            ends = self._ended.tolist()
            before = [len(kept) for kept in self._kept]
            self._keep(0, torch.tensor(missing))
            for row, kept in enumerate(self._kept):
                if len(kept) > before[row]:
                    kept[-1] = Kept(ends[row], kept[-1].vector, kept[-1].properties)

    def _keep_at_least_one(self) -> None:
        """Keeps the initial weights of networks whose weights were too large before the first checkpoint."""
        none = torch.tensor([not kept for kept in self._kept])
        if bool(none.any()):
            self._diverged |= none.to(self._diverged.device)
            self._weights.start_over(none.nonzero().flatten())
            self._keep(0, none)

    def _measure(self) -> list[dict[str, Value]]:
        self._template.eval()

        def output(parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self._template, (parameters, buffers), (inputs,))

        def forward(inputs: Tensor, dim: int | None) -> Tensor:
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                return vmap(output, in_dims=(0, 0, dim))(self._weights.parameters, self._weights.buffers, inputs)

        return self._task.measure(forward)

    def _finish(self) -> list[TrainedRun]:
        runs = []
        for trainee, kept, diverged in zip(self._trainees, self._kept, self._diverged.tolist(), strict=True):
            for row in kept:
                row.properties["diverged"] = diverged
            runs.append(trainee.finish(self._weights.layout, kept))
        return runs

    def _column(self, name: str, device: str) -> Float[Tensor, "networks 1"]:
        return torch.tensor([[t.hyperparameters[name]] for t in self._trainees], dtype=torch.float32, device=device)

    def _stack_thresholds(self, device: str) -> list[Int32[Tensor, " networks"]]:
        layers = [dropouts(trainee.module) for trainee in self._trainees]
        return [
            torch.tensor([_threshold(own[place]) for own in layers], dtype=torch.int32, device=device)
            for place in range(len(self._dropouts))
        ]


def _threshold(layer: ByteDropout) -> int:
    assert isinstance(layer.threshold, int)
    return layer.threshold
