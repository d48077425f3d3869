"""Random numbers as functions of their position: hashes of key and position, on any device."""

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

_ROUNDS = 32


def key_of(seed: int, device: torch.device | str) -> Int32[Tensor, "1"]:
    """Returns the key of a seed.

    Args:
        seed: Seed, from 0 to 2**64 - 1.
        device: Device of the key.
    """
    low, high = (torch.tensor([_signed(part)], dtype=torch.int32) for part in (seed & 0xFFFFFFFF, seed >> 32))
    return mix(mix(low) ^ high).to(device)


def mask_keys(keys: Int32[Tensor, " networks"], step: int, salt: int) -> Int32[Tensor, " networks"]:
    """Returns the key of what is drawn for one purpose in one training step, per network.

    Args:
        keys: Key per network.
        step: Training step.
        salt: Number of the purpose: a dropout layer, or augmentation. Different numbers give independent draws.
    """
    return mix(mix(keys + step) ^ _signed(0x85EBCA6B * (salt + 1) & 0xFFFFFFFF))


def mix(words: Int32[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """Hashes each word.

    Source: the finaliser of MurmurHash3 (Appleby, public domain).
    """
    words = words ^ ((words >> 16) & 0xFFFF)
    words = words * _signed(0x85EBCA6B)
    words = words ^ ((words >> 13) & 0x7FFFF)
    words = words * _signed(0xC2B2AE35)
    return words ^ ((words >> 16) & 0xFFFF)


def batch_rows(
    keys: Int32[Tensor, " networks"],
    counts: Int64[Tensor, " networks"],
    batch_size: int,
    step: int,
    num_steps: int = 1,
) -> Int64[Tensor, "networks steps batch"]:
    """Returns the rows of the batches of some steps, for networks with different numbers of rows.

    Args:
        keys: Key per network.
        counts: Number of rows per network, at least `batch_size`.
        batch_size: Number of rows per step.
        step: First step, numbered from 1.
        num_steps: Number of steps.
    """
    device = counts.device
    steps = torch.arange(step - 1, step - 1 + num_steps, device=device)
    steps_per_epoch = (counts // batch_size)[:, None]
    epochs, places = steps // steps_per_epoch, steps % steps_per_epoch
    positions = places[..., None] * batch_size + torch.arange(batch_size, device=device)
    orders = mix(keys[:, None] ^ mix(epochs.to(torch.int32) + 1))
    return permute(orders, positions, counts[:, None])


def permute(
    keys: Int32[Tensor, "*sets"],
    positions: Int64[Tensor, "*sets places"],
    counts: Int64[Tensor, "*#sets"],
) -> Int64[Tensor, "*sets places"]:
    """Applies random permutations of 0 .. count - 1 to some positions, without building whole permutations.

    Source: the swap-or-not shuffle of Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle"
    (2012), arXiv 1208.1176. Differs: a short hash in place of a pseudorandom function.

    Args:
        keys: Key per permutation.
        positions: Positions, below the count.
        counts: Length per permutation.
    """
    counts = counts[..., None]
    for turn in range(_ROUNDS):
        turn_key = mix(keys + _signed(0x9E3779B9 * (turn + 1) & 0xFFFFFFFF))[..., None]
        partners = ((turn_key.to(torch.int64) & 0xFFFFFFFF) % counts - positions) % counts
        larger = torch.maximum(positions, partners)
        swapped = (mix(larger.to(torch.int32) ^ mix(turn_key)) & 1).bool()
        positions = torch.where(swapped, partners, positions)
    return positions


def bytes_of(key: Int32[Tensor, "*networks"], count: int) -> UInt8[Tensor, "*networks bytes"]:
    """Returns uniform random bytes, `count` per key."""
    places = torch.arange((count + 3) // 4, dtype=torch.int32, device=key.device)
    words = mix(places * _signed(0x9E3779B9) + key[..., None])
    return words.view(torch.uint8)[..., :count]


def _signed(word: int) -> int:
    """Returns 32 bits as a signed number, as torch stores them."""
    return word - (1 << 32) if word >= 1 << 31 else word
