"""Training of the discriminator between networks and shuffled copies of them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.nn import in_float32
from sne.predictors.discriminator import Discriminator, scaled
from sne.predictors.experts.state import own_randomness

HIDDEN, HIDDEN_2 = 64, 32
"""Sizes of the hidden layers."""

BATCH = 64
"""Number of networks per step, and of copies."""

LEAST_STEPS = 300
"""Least number of steps."""

EPOCHS = 15
"""Number of passes over the networks, where these are more steps."""

LEARNING_RATE = 2e-3
"""Peak learning rate."""

WEIGHT_DECAY = 1e-2
"""Weight decay."""

DROPOUT = 0.4
"""Share of hidden values that are dropped; of the features, half of it."""

NOISE = 0.2
"""Standard deviation of the noise on scaled features."""


def train_discriminator(
    rows: Float[Tensor, "networks features"], copies: Float[Tensor, "networks features"], seed: int
) -> Discriminator:
    """Trains a discriminator.

    Args:
        rows: Descriptions of networks.
        copies: Description of a shuffled copy of each.
        seed: Random seed.

    Returns:
        The discriminator, with the same bits for the same seed.
    """
    shift, gain = Discriminator.scale_of(rows)
    known, shuffled = scaled(rows, shift, gain), scaled(copies, shift, gain)
    count = len(rows)
    batch = min(BATCH, count)
    steps = max(LEAST_STEPS, EPOCHS * count // batch)
    targets = torch.tensor([0.0, 1.0], dtype=torch.float32).repeat_interleave(batch)
    with own_randomness(seed, torch.device("cpu")), torch.enable_grad():
        with in_float32():
            first, second, last = nn.Linear(len(shift), HIDDEN), nn.Linear(HIDDEN, HIDDEN_2), nn.Linear(HIDDEN_2, 1)
        model = nn.Sequential(
            nn.Dropout(DROPOUT / 2), first, nn.SiLU(), nn.Dropout(DROPOUT), second, nn.SiLU(), last, nn.Flatten(0)
        )
        optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        order, place = torch.randperm(count), 0
        for _ in range(steps):
            if place + batch > count:
                order, place = torch.randperm(count), 0
            some = order[place : place + batch]
            place += batch
            inputs = torch.cat([known[some], shuffled[some]])
            found = model(inputs + NOISE * torch.randn_like(inputs))
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(found, targets).backward()
            optimizer.step()
            schedule.step()
    weights = [tensor.detach() for layer in (first, second, last) for tensor in (layer.weight, layer.bias)]
    return Discriminator(shift, gain, *weights)
