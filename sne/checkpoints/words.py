"""What the names of networks in a checkpoint say: copies, adversaries, and the main one."""

import re
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_COPIES = frozenset({
    "ema", "teacher", "target", "targ", "momentum", "shadow", "averaged", "average", "avg", "swa", "polyak", "slow",
    "lagged", "delayed", "reference", "ref", "frozen",
})  # fmt: skip
_ENCODERS = frozenset({"encoder", "backbone", "base", "projector", "projection", "head", "net", "network", "model"})
_KEYS = frozenset({"k", "key"})
_SIDES = (
    (
        frozenset({"generator", "gen", "g", "encoder", "decoder", "autoencoder", "ae", "vae", "unet"}),
        frozenset({"discriminator", "disc", "d", "critic"}),
    ),
    (frozenset({"actor", "policy", "pi"}), frozenset({"critic", "value", "vf", "qf", "q", "v"})),
)
"""Networks that are trained against each other: the first is the one that is used afterwards."""


@lru_cache(maxsize=10_000)
def words(name: str) -> tuple[str, ...]:
    """Splits a name at underscores, capitals and numbers.

    Example:
        >>> words("netG_ema2")
        ('net', 'g', 'ema', '2')
    """
    return tuple(word.lower() for word in _WORD.findall(name[:200]))


@lru_cache(maxsize=10_000)
def names_copy(name: str) -> bool:
    """Whether a name is that of a copy: a moving average, a teacher, a target network, a key encoder.

    Example:
        >>> [names_copy(name) for name in ("model_ema", "critic_target", "encoder_k", "k_proj", "generator")]
        [True, True, True, False, False]
    """
    found = words(name)
    return not _COPIES.isdisjoint(found) or (
        bool(found) and not _KEYS.isdisjoint((found[0], found[-1])) and not _ENCODERS.isdisjoint(found)
    )


def without_adversaries(names: Iterable[str]) -> list[str]:
    """Leaves out the names of discriminators beside a generator, and of critics beside an actor.

    Example:
        >>> without_adversaries(["netG", "netD"]), without_adversaries(["encoder", "decoder"])
        (['netG'], ['encoder', 'decoder'])
    """
    names = list(names)
    for used, other in _SIDES:
        if any(not used.isdisjoint(words(name)) for name in names):
            names = [name for name in names if other.isdisjoint(words(name)) or not used.isdisjoint(words(name))]
    return names
