"""The training loop of the neural expert."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.predictors.experts.contract import CopySource, Examples, FitContext, Outputs
from sne.predictors.experts.heads import PropertyHeads
from sne.predictors.experts.process_group import ProcessGroup
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.state import (
    TrainingState,
    derive_seed,
    optimizer_tensors,
    own_randomness,
    restore_optimizer,
)
from sne.predictors.figures import scores, selection_score


class EncoderWithHeads(nn.Module):
    """An encoder followed by the heads that read its embeddings.

    Args:
        encoder: Maps networks to embeddings.
        heads: Map embeddings to properties.
    """

    def __init__(self, encoder: NetworkEncoder, heads: PropertyHeads):
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def forward(self, batch: Any) -> Float[Tensor, "networks raw"]:
        """Computes the raw outputs of the heads for a batch that the encoder's `collate` made."""
        return self.heads(self.encoder(batch))

    def outputs(self, embedding: Float[Tensor, "networks dim"]) -> Outputs:
        """Returns what the heads say about embeddings, on the CPU, dropout off."""
        heads = self.heads.eval() if self.heads.training else self.heads  # eval() visits every module
        logits = heads(embedding)[:, : heads.num_outputs].float().cpu()
        return Outputs(heads.values(logits), logits, embedding.cpu())

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device


def train_epochs(
    model: EncoderWithHeads,
    train: Examples,
    held_out: Examples,
    settings: TrainingSettings,
    *,
    context: FitContext,
    state: TrainingState | None = None,
) -> TrainingState:
    """Trains a model in place and leaves it with the parameters of its best epoch.

    Every epoch has a seed of its own, so that its bits depend on nothing but the state before it.

    Args:
        model: A fresh model with fitted input scale, on the device where it is to be trained.
        train: Examples to learn from.
        held_out: Examples that choose the epoch; if there are none, the last epoch is kept.
        settings: How to train.
        context: Name, seeds, saved states, copies and progress.
        state: State to continue from; None to begin.

    Returns:
        The finished state. Its history holds the loss (all terms), the invariance term if there is one, and the
        loss and score on held-out examples of every epoch.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    state = state or TrainingState()
    if state.done:
        model.load_state_dict(state.part("best"))
        return state
    optimizer = _optimizer(model, settings)
    if state.epoch:
        model.load_state_dict(state.part("model"))
        restore_optimizer(optimizer, state.part("optimizer"))
    judge = _Judge(model, held_out, settings.batch_size, context.group)
    saved, started = time.monotonic(), time.monotonic() - state.seconds
    while state.epoch < settings.epochs:
        seed = (*context.seed, state.epoch)
        with own_randomness(derive_seed(*seed), model.device):
            loss, term = _train_epoch(model, optimizer, train, settings, state.epoch, context, seed)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss of {context.name} is {loss} in epoch {state.epoch + 1}: "
                f"try a learning rate below {settings.learning_rate:g} or a gradient clip"
            )
        figures, score = judge(model)
        with_term = {"invariance": term} if context.copies and context.copies.weight else {}
        state.history.append({"epoch": state.epoch, "loss": loss, **with_term, **figures})
        if score is None or state.best_epoch < 0 or score > state.best_score:
            state.best_epoch = state.epoch
            state.best_score = score or state.best_score
            state.put("best", model.state_dict())
        state.epoch += 1
        state.seconds = time.monotonic() - started
        context.on_progress(state.epoch, settings.epochs, _describe(state.history[-1]))
        if settings.patience and state.epoch - 1 - state.best_epoch >= settings.patience:
            break
        if state.epoch < settings.epochs and time.monotonic() - saved >= settings.checkpoint_seconds:
            state.put("model", model.state_dict())
            state.put("optimizer", optimizer_tensors(optimizer))
            context.store.save(context.name, state)
            saved = time.monotonic()
    state.done = True
    for part in ("model", "optimizer"):
        state.put(part, {})
    context.store.save(context.name, state)
    model.load_state_dict(state.part("best"))
    return state


def _describe(entry: dict[str, Any]) -> str:
    score = f", validation {entry['score']:.3f}" if "score" in entry else ""
    return f"loss {entry['loss']:.4f}{score}"


class _Judge:
    """Computes loss and score on held-out examples, which are collated once. Each process computes some batches."""

    def __init__(self, model: EncoderWithHeads, held_out: Examples, batch_size: int, group: ProcessGroup):
        items = held_out.prepared.items
        self.heads = model.heads
        self.targets = held_out.targets
        self.group = group
        self.batches = [
            (start, model.encoder.collate(items[start : start + batch_size]).to(model.device))
            for start in group.share(range(0, len(held_out), batch_size))
        ]

    def __call__(self, model: EncoderWithHeads) -> tuple[dict[str, float], tuple[float, float] | None]:
        if not len(self.targets):
            return {}, None
        model.eval()
        with torch.inference_mode():
            outputs = torch.zeros(len(self.targets), self.heads.num_raw, device=model.device, dtype=torch.float32)
            for start, batch in self.batches:
                raw = model(batch).float()
                outputs[start : start + len(raw)] = raw
            self.group.add_up(outputs)
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


def _optimizer(model: EncoderWithHeads, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, fused=True)


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """Computes the learning rate of one optimiser step.

    Args:
        settings: Peak and warm-up.
        step: Number of the step, from 0.
        steps: Number of steps in the whole run.

    Returns:
        A linear rise during the warm-up, then half a cosine down to 0.
    """
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def invariance_weight(settings: TrainingSettings, step: int, steps: int) -> float:
    """Computes the weight of the invariance term in one optimiser step.

    At full weight from the first step on, the term would hold outputs together before they say anything, which
    slows down the task.

    Args:
        settings: Weight and ramp.
        step: Number of the step, from 0.
        steps: Number of steps in the whole run.

    Returns:
        A linear rise during the ramp, then the weight.
    """
    ramp = math.ceil(settings.invariance_ramp * steps)
    return settings.invariance * min(1.0, (step + 1) / (ramp + 1))


def invariance_term(
    outputs: Float[Tensor, "networks raw"], of_copies: Float[Tensor, "draws networks raw"]
) -> Float[Tensor, ""]:
    """Computes half the squared distance between the outputs for networks and for their copies, averaged over both.

    Source: Moskalev et al., "On genuine invariance learning without weight-tying", arXiv 2308.03904, section 2.
    Differs: nothing; the outputs are those of the heads before sigmoid, softmax or scale, including rank outputs.
    """
    return 0.5 * (outputs - of_copies).square().sum(-1).mean()


def _train_epoch(
    model: EncoderWithHeads,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    settings: TrainingSettings,
    epoch: int,
    context: FitContext,
    seed: tuple[object, ...],
) -> tuple[float, float]:
    """Returns the mean loss of an epoch, and the mean of the invariance term before its weight."""
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    order = torch.randperm(len(train)).tolist()
    if context.group.count > 1:  # the processes agree on the order, and draw their own dropout
        torch.manual_seed(derive_seed(*seed, "process", context.group.rank))
    per_step = settings.batch_size * settings.accumulation
    steps_per_epoch = -(-len(train) // per_step)
    totals = torch.zeros(2, device=model.device, dtype=torch.float32)
    for number in range(steps_per_epoch):
        step, steps = epoch * steps_per_epoch + number, settings.epochs * steps_per_epoch
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, steps)
        whole = train.take(order[number * per_step : (number + 1) * per_step])
        losses = _StepLosses(model, whole, settings, context.copies, invariance_weight(settings, step, steps))
        optimizer.zero_grad(set_to_none=True)
        own = context.group.share(range(len(whole)))
        for start in range(0, len(own), settings.batch_size):
            loss, term = losses(own[start : start + settings.batch_size], (*seed, number))
            loss.backward()
            totals += len(whole) * torch.stack([loss.detach(), term.detach()])
        context.group.add_up_gradients(parameters)
        if settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
    loss, term = (context.group.add_up(totals) / len(train)).tolist()
    return loss, term


class _StepLosses:
    """Computes the loss of one optimiser step in parts, which add up to it.

    Args:
        model: The model.
        whole: The networks of the step.
        settings: How to train.
        copies: Copies to learn from; None for none.
        weight: Weight of the invariance term.
    """

    def __init__(
        self,
        model: EncoderWithHeads,
        whole: Examples,
        settings: TrainingSettings,
        copies: CopySource | None,
        weight: float,
    ):
        self.model, self.whole, self.copies, self.weight = model, whole, copies, weight
        self.learns_from_copies = settings.augment and copies is not None and bool(copies.weight)
        is_cuda = model.device.type == "cuda"
        self.use_bf16 = settings.precision == "bfloat16" or (settings.precision == "auto" and is_cuda)
        copied = copies.known(whole.rows) if copies else []
        self.num_copied = len(copied)
        self.known = self._targets(whole, copied).isnan().logical_not().sum(0).to(model.device)

    def __call__(self, places: Sequence[int], seed: tuple[object, ...]) -> tuple[Tensor, Tensor]:
        """Returns the share of some networks in the loss, invariance term included, and in that term alone."""
        batch, model = self.whole.take(places), self.model
        items, copied = _with_copies(model.encoder, batch, self.copies, seed)
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=self.use_bf16):
            outputs = model(model.encoder.collate(items).to(model.device))
            targets = self._targets(batch, copied).to(model.device)
            loss = model.heads.loss(outputs[: len(targets)], targets, self.known)
            if not copied:
                return loss, torch.zeros_like(loss)
            of_copies = outputs[len(batch) :].float().unflatten(0, (-1, len(copied)))
            term = invariance_term(outputs[copied].float(), of_copies) * (len(copied) / self.num_copied)
            return loss + self.weight * term, term

    def _targets(self, some: Examples, copied: list[int]) -> Float[Tensor, "networks properties"]:
        """Returns the labels of networks, followed by those of their copies where these are learned from."""
        if not (self.copies and self.learns_from_copies):
            return some.targets
        return torch.cat([some.targets, some.targets[copied].repeat(self.copies.draws, 1)])


def _with_copies(
    encoder: NetworkEncoder, batch: Examples, copies: CopySource | None, seed: tuple[object, ...]
) -> tuple[Sequence[Any], list[int]]:
    """Returns the items of a batch, and the places of the networks whose copies follow the batch's own items.

    Copies follow draw after draw. Where they replace the networks, no copies follow and no places are returned.
    """
    items = batch.prepared.items
    if copies is None:
        return items, []
    known = copies.known(batch.rows)
    drawn = copies.copy(encoder, [batch.rows[place] for place in known], *seed) if known else []
    if copies.weight:
        return [*items, *drawn], known
    augmented = dict(zip(known, drawn, strict=True))
    return [augmented.get(place, item) for place, item in enumerate(items)], []
