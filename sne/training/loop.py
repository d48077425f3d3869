"""The training loop of one member."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import TrainingError
from sne.predictors import Member, scores, selection_score
from sne.training.invariance import LearnedInvariance, invariance_term
from sne.training.randomness import derive_seed, own_randomness
from sne.training.schedule import invariance_weight, learning_rate
from sne.training.settings import TrainingSettings
from sne.training.state import MemberState, StateStore, optimizer_tensors, restore_optimizer


@dataclass(frozen=True)
class Examples:
    """Networks ready for an encoder, with their labels.

    Args:
        prepared: what the encoder's `prepare` gave, one item a network.
        targets: one column a property, as `Property.encode` gives them; nan where missing.
        rows: where the networks stand in their zoo.
    """

    prepared: Sequence[Any]
    targets: Float[Tensor, "networks properties"]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.prepared)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Examples":
        """Those of some row numbers."""
        numbers = [int(row) for row in rows]
        prepared, rows = [self.prepared[row] for row in numbers], [self.rows[row] for row in numbers]
        return Examples(prepared, self.targets[numbers], rows)


def train_member(
    member: Member,
    train: Examples,
    held_out: Examples,
    settings: TrainingSettings,
    *,
    name: str,
    store: StateStore,
    state: MemberState | None = None,
    stop_after: int | None = None,
    invariance: LearnedInvariance | None = None,
    on_epoch: Callable[[MemberState], None] | None = None,
) -> MemberState:
    """Trains a member in place and leaves it with the parameters of its best epoch.

    Every epoch starts from a seed of its own, so that its bits depend on nothing but the state before it.

    Args:
        member: a fresh member with its input scales fitted, on the device where it shall be trained.
        train: what it learns from.
        held_out: what chooses its epoch; empty: the last one is kept.
        settings: how.
        name: of the member, for its seeds and its saved state.
        store: where states between epochs are kept.
        state: a state to go on from.
        stop_after: epochs after which to stop, the schedule being that of all `settings.epochs`.
        invariance: the transformed copies that it learns from; None for none.
        on_epoch: called after each epoch.

    Returns:
        The finished state; its history holds loss (of all terms), the invariance term where there is one, validation
        loss and score of every epoch.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    state = state or MemberState()
    if state.done:
        member.load_state_dict(state.part("best"))
        return state
    device = member.device
    optimizer = _optimizer(member, settings)
    averaged = copy.deepcopy(member).requires_grad_(False) if settings.ema_decay else member
    if state.epoch:
        member.load_state_dict(state.part("model"))
        restore_optimizer(optimizer, state.part("optimizer"))
        if averaged is not member:
            averaged.load_state_dict(state.part("averaged"))
    judge = _Judge(member, held_out, settings.batch_size, device)
    last = min(settings.epochs, stop_after or settings.epochs)
    saved, started = time.monotonic(), time.monotonic() - state.seconds
    while state.epoch < last:
        with own_randomness(derive_seed(settings.seed, name, state.epoch), device):
            seed = (settings.seed, name, state.epoch)
            loss, term = _train_epoch(member, averaged, optimizer, train, settings, state.epoch, invariance, seed)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss of {name} is {loss} in epoch {state.epoch + 1}: "
                f"try a learning rate below {settings.learning_rate:g} or a gradient clip"
            )
        entry, score = judge(averaged)
        with_term = {"invariance": term} if invariance and invariance.weight else {}
        state.history.append({"epoch": state.epoch, "loss": loss, **with_term, **entry})
        if score is None or state.best_epoch < 0 or score > state.best_score:
            state.best_epoch = state.epoch
            state.best_score = score or state.best_score
            state.put("best", averaged.state_dict())
        state.epoch += 1
        state.seconds = time.monotonic() - started
        if on_epoch:
            on_epoch(state)
        if settings.patience and state.epoch - 1 - state.best_epoch >= settings.patience:
            break
        if state.epoch < last and time.monotonic() - saved >= settings.checkpoint_seconds:
            state.put("model", member.state_dict())
            state.put("optimizer", optimizer_tensors(optimizer))
            if averaged is not member:
                state.put("averaged", averaged.state_dict())
            store.save(name, state)
            saved = time.monotonic()
    state.done = True
    for part in ("model", "optimizer", "averaged"):
        state.put(part, {})
    store.save(name, state)
    member.load_state_dict(state.part("best"))
    return state


class _Judge:
    """Loss and score on held-out examples, which are collated once."""

    def __init__(self, member: Member, held_out: Examples, batch_size: int, device: torch.device):
        self.heads = member.heads
        self.targets = held_out.targets
        self.batches = [
            member.encoder.collate(held_out.prepared[start : start + batch_size]).to(device)
            for start in range(0, len(held_out), batch_size)
        ]

    def __call__(self, member: Member) -> tuple[dict[str, float], tuple[float, float] | None]:
        if not self.batches:
            return {}, None
        member.eval()
        with torch.inference_mode():
            outputs = torch.cat([member(batch).float() for batch in self.batches])
            values = self.heads.values(outputs).cpu().double().numpy()
            loss = float(self.heads.loss(outputs, self.targets.to(outputs.device)))
        if not np.isfinite(values).all():
            return {"validation_loss": loss, "score": 0.0}, (-float("inf"), -float("inf"))
        found = []
        for column, (prop, where) in enumerate(zip(self.heads.properties, self.heads.slices, strict=True)):
            labels = self.targets[:, column].double().numpy()
            guesses = values[:, where]
            if prop.kind == "class":  # class numbers on both sides: equal numbers are equal names
                guesses = guesses.argmax(axis=1).astype(np.float64)[:, None]
            score = selection_score(prop, scores(prop, labels, guesses[:, 0]))
            found += [] if score is None else [score]
        score = float(np.mean(found)) if found else 0.0
        return {"validation_loss": loss, "score": score}, (score, -loss)


def _optimizer(member: Member, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for p in member.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, fused=True)


def _train_epoch(
    member: Member,
    averaged: Member,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    settings: TrainingSettings,
    epoch: int,
    invariance: LearnedInvariance | None,
    seed: tuple[object, ...],
) -> tuple[float, float]:
    """Mean loss of an epoch, and the mean of the invariance term in it before its weight."""
    member.train()
    device = member.device
    use_bf16 = settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda")
    parameters = [p for p in member.parameters() if p.requires_grad]
    order = torch.randperm(len(train)).tolist()
    per_step = settings.batch_size * settings.accumulation
    steps_an_epoch = -(-len(train) // per_step)
    total, term_total = torch.zeros((), device=device), torch.zeros((), device=device)
    for number in range(steps_an_epoch):
        step = epoch * steps_an_epoch + number
        steps = settings.epochs * steps_an_epoch
        rate, weight = learning_rate(settings, step, steps), invariance_weight(settings, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = order[number * per_step : (number + 1) * per_step]
        optimizer.zero_grad(set_to_none=True)
        for start in range(0, len(rows), settings.batch_size):
            some = train.take(rows[start : start + settings.batch_size])
            items, known = _items(member, some, invariance, (*seed, number, start))
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bf16):
                outputs = member(member.encoder.collate(items).to(device))
            own, targets = outputs[: len(some)], some.targets
            if invariance and known and settings.augment:  # the task is learned from the copies too
                targets = torch.cat([targets, targets[known].repeat(invariance.draws, 1)])
            loss = member.heads.loss(outputs[: len(targets)], targets.to(device))
            if invariance and known:
                of_copies = outputs[len(some) :].float().unflatten(0, (-1, len(known)))
                term = invariance_term(own[known].float(), of_copies)
                loss = loss + weight * term
                term_total += term.detach() * len(some)
            (loss * (len(some) / len(rows))).backward()
            total += loss.detach() * len(some)
        if settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        if averaged is not member:
            _follow(averaged, member, min(settings.ema_decay, (1 + step) / (10 + step)))
    return float(total) / len(train), float(term_total) / len(train)


def _items(
    member: Member, some: Examples, invariance: LearnedInvariance | None, seed: tuple[object, ...]
) -> tuple[Sequence[Any], list[int]]:
    """What a batch is made of, and places of the networks whose copies follow the batch's own, draw after draw."""
    if invariance is None:
        return some.prepared, []
    known = invariance.known(some.rows)
    copies = invariance.copy(member.encoder, [some.rows[place] for place in known], *seed) if known else []
    if invariance.weight:
        return [*some.prepared, *copies], known
    augmented = dict(zip(known, copies, strict=True))
    return [augmented.get(place, item) for place, item in enumerate(some.prepared)], []


@torch.no_grad()
def _follow(averaged: Member, member: Member, decay: float) -> None:
    """Moves the running mean; `decay` starts low, so that the first parameters are soon forgotten."""
    for mean, value in zip(averaged.parameters(), member.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
    for mean, value in zip(averaged.buffers(), member.buffers(), strict=True):
        mean.copy_(value)
