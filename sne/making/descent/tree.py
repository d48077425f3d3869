"""Trees of descent: a trained network, and the networks that are made from it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from sne.making.descent.changes import (
    State,
    mean_of,
    pruned,
    quantised,
    rounded,
    with_update_of_rank,
    without_units,
)
from sne.making.images import ImageSet
from sne.making.optimisers import make_optimiser
from sne.making.randomness import SequentialDraws
from sne.making.recipe import Recipe, RunId
from sne.making.running import Kept, TrainedRun, Trainee, prepare_run, symmetry_of_module
from sne.making.tasks import Task
from sne.symmetry import Symmetry, apply, sample
from sne.zoo.store.layout import flatten

ROOTS = ("root", "twin", "distilled")
"""Kinds of networks that are made from no other one: they start from random weights."""


@dataclass(frozen=True)
class Node:
    """A network of a tree.

    Args:
        name: Name within the tree.
        kind: How it was made, see docs/zoos.md.
        parents: Names of the networks it was made from; two for a merge, none for `ROOTS`.
        state: Its tensors.
    """

    name: str
    kind: str
    parents: tuple[str, ...]
    state: State


@dataclass
class _Tree:
    """A tree that grows.

    Args:
        trainee: The root before its first step.
        other: Task on another image set.
        steps: Number of steps that the root is trained for.
    """

    trainee: Trainee
    other: Task
    steps: int
    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, name: str, kind: str, parents: Sequence[str], state: State) -> None:
        self.nodes[name] = Node(name, kind, tuple(parents), state)

    def change(self, name: str, kind: str, parent: str, change: Callable[[State], State]) -> None:
        """Adds a network that is made from another one without training."""
        self.add(name, kind, [parent], change(self.nodes[parent].state))

    def tune(self, name: str, kind: str, parents: Sequence[str], start: State, steps: int, **how: Any) -> None:
        """Adds a network that is trained, see `trained`."""
        self.add(name, kind, parents, self.trained(name, start, steps, **how))

    def trained(
        self,
        name: str,
        start: State,
        steps: int,
        *,
        on: Task | None = None,
        rate: float = 1.0,
        only_head: bool = False,
        teacher: State | None = None,
    ) -> State:
        """Trains a network.

        Args:
            name: Name of the network, which decides the order of its data.
            start: Tensors before the first step.
            steps: Number of steps.
            on: Task that is trained; the root's own if None.
            rate: Factor of the learning rate.
            only_head: Whether the last layer alone is trained.
            teacher: Tensors of a network whose outputs are learned instead of the classes.

        Returns:
            Tensors after the last step.
        """
        trainee, task = self.trainee, on or self.trainee.task
        module = trainee.module
        masters = None if teacher is None else _outputs_of(module, teacher)
        module.load_state_dict(start, strict=False)
        for parameter in module.parameters():
            parameter.requires_grad_(not only_head)
        if only_head:
            for parameter in _last_layer(module).parameters(recurse=False):
                parameter.requires_grad_(True)
        drawn = trainee.hyperparameters
        optimiser = make_optimiser(module, {**drawn, "learning_rate": drawn["learning_rate"] * rate})
        module.train()
        for rows in islice(self._batches(name, task), steps):
            inputs, targets = task.batch(rows)
            optimiser.zero_grad()
            outputs = module(inputs)
            if masters is None:
                loss = task.loss(outputs, targets)
            else:
                loss = -(softmax(masters(inputs), 1) * log_softmax(outputs, 1)).sum(1).mean()
            loss.backward()
            optimiser.step()
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        return state_of(module)

    def _batches(self, name: str, task: Task) -> Iterator[Tensor]:
        """Yields batches in an order that belongs to the name."""
        orders = torch.Generator().manual_seed((self.trainee.seeds.data + crc32(name.encode())) % 2**63)
        yield from SequentialDraws(orders).batches(task.num_examples, min(self.trainee.batch_size, task.num_examples))


def state_of(module: nn.Module) -> State:
    """Returns copies of the floating-point tensors of a module."""
    return {name: values.clone() for name, values in module.state_dict().items() if values.is_floating_point()}


def _last_layer(module: nn.Module) -> nn.Module:
    """Returns the last layer of a module that has weights, in the order in which it was built."""
    return [layer for layer in module.modules() if any(True for _ in layer.parameters(recurse=False))][-1]


def _outputs_of(module: nn.Module, state: State) -> Callable[[Tensor], Tensor]:
    """Returns the function of a network, without gradients."""
    fixed = {name: values.clone() for name, values in state.items()}

    def outputs(inputs: Tensor) -> Tensor:
        was_training = module.training
        module.eval()
        with torch.no_grad():
            found = torch.func.functional_call(module, fixed, (inputs,))
        module.train(was_training)
        return found

    return outputs


def grow(
    recipe: Recipe, run_id: RunId, images: ImageSet, other: ImageSet
) -> tuple[list[Node], Trainee, Symmetry | None]:
    """Trains a root and makes its descendants.

    Args:
        recipe: Recipe of the zoo; `length` is the number of steps of the root.
        run_id: Identity of the tree.
        images: Image set of the root.
        other: Another image set, with as many classes, and images of the same size.

    Returns:
        The networks, each after its parents; the root before training; its symmetry, None if it is not known.
    """
    trainee = prepare_run(recipe, run_id, images)
    draws = torch.Generator().manual_seed(trainee.seeds.data)
    tree = _Tree(trainee, trainee.family.task(trainee.hyperparameters, other, draws, recipe.eval_images), recipe.length)
    symmetry = symmetry_of_module(trainee.module, trainee.family, trainee.hyperparameters, trainee.task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trainee.seeds.masks)
        _grow(tree, symmetry, trainee.seeds.masks % 2**31)
    return list(tree.nodes.values()), trainee, symmetry


def _grow(tree: _Tree, symmetry: Symmetry | None, seed: int) -> None:
    steps, start = tree.steps, state_of(tree.trainee.module)
    tree.tune("root", "root", [], start, steps)
    root = tree.nodes["root"].state
    tree.tune("twin", "twin", [], start, steps)
    with torch.random.fork_rng(devices=[]):
        fresh = _fresh(tree.trainee, seed)
    tree.tune("distilled", "distilled", [], fresh, steps, teacher=root)
    tree.tune("tuned lightly", "tuned lightly", ["root"], root, max(1, steps // 10), rate=0.3)
    tree.tune("tuned long", "tuned long", ["root"], root, steps)
    tree.tune("head", "head tuned", ["root"], root, max(1, steps // 5), on=tree.other, only_head=True)
    tree.tune("other", "tuned on other images", ["root"], root, max(1, steps // 2), on=tree.other)
    for share in (30, 60, 90):
        tree.change(f"pruned {share}%", f"pruned {share}%", "root", lambda state, s=share: pruned(state, s / 100))
    tree.change("units", "units pruned", "root", lambda state: without_units(state, 0.25))
    tree.change("half", "half", "root", lambda state: rounded(state, torch.float16))
    tree.change("bfloat16", "bfloat16", "root", lambda state: rounded(state, torch.bfloat16))
    for bits in (8, 4):
        tree.change(f"int{bits}", f"int{bits}", "root", lambda state, b=bits: quantised(state, b))
    for rank in (1, 2, 4, 8):
        adapted = tree.trained(f"rank {rank}", root, max(1, steps // 4), on=tree.other)
        made = with_update_of_rank(root, adapted, rank)
        if any(not torch.equal(values, root[name]) for name, values in made.items()):
            tree.add(f"rank {rank}", f"update of rank {rank}", ["root"], made)
    if symmetry is not None and symmetry.groups:
        for name, kinds in (("permuted", ("permutation",)), ("rescaled", ("permutation", "scaling", "sign"))):
            if set(kinds[-2:]) & {kind for group in symmetry.groups for kind in group.kinds}:
                moves = sample(symmetry, seed=seed, kinds=kinds)
                tree.change(name, name, "root", lambda state, moves=moves: apply(moves, state))
        if "permuted" in tree.nodes:
            moved = tree.nodes["permuted"].state
            tree.tune("permuted and tuned", "tuned lightly", ["permuted"], moved, max(1, steps // 5), rate=0.3)
    other = tree.nodes["other"].state
    tree.add("merge", "merged", ["tuned long", "other"], mean_of(tree.nodes["tuned long"].state, other, 0.6))
    tree.tune("back", "tuned lightly", ["other"], other, max(1, steps // 3))
    tree.change("back, pruned", "pruned 30%", "back", lambda state: pruned(state, 0.3))
    tree.change("back, pruned, half", "half", "back, pruned", lambda state: rounded(state, torch.float16))


def _fresh(trainee: Trainee, seed: int) -> State:
    """Returns other initial weights."""
    images = getattr(trainee.task, "images")  # noqa: B009 (tasks on images have them)
    init = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    return state_of(trainee.family.build(trainee.hyperparameters, images.shape, images.num_classes, init))


def train_trees(
    recipe: Recipe, run_ids: Sequence[RunId], images: ImageSet, other: ImageSet
) -> Iterator[tuple[RunId, TrainedRun]]:
    """Grows trees one after another; a `Trainer` of runs whose checkpoints are the networks of one tree.

    The columns `kind`, `node` and `dataset` say how a network was made; `parent` and `other_parent` hold the ids of the
    networks it was made from.
    """
    for run_id in run_ids:
        nodes, trainee, symmetry = grow(recipe, run_id, images, other)
        numbers = {node.name: number for number, node in enumerate(nodes)}
        kept = []
        for node in nodes:
            trainee.module.load_state_dict(node.state, strict=False)
            parents = [f"{run_id.name}@{numbers[name]}" for name in node.parents]
            properties = {
                "node": node.name,
                "kind": node.kind,
                "parent": parents[0] if parents else None,
                "other_parent": parents[1] if len(parents) > 1 else None,
                **trainee.task.measure(trainee.module),
            }
            kept.append(Kept(numbers[node.name], flatten(trainee.module.state_dict())[1], properties))
        layout = flatten(trainee.module.state_dict())[0]
        hyperparameters = dict(trainee.hyperparameters)
        yield run_id, TrainedRun(layout, hyperparameters, tuple(kept), None, symmetry)
