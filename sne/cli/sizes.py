"""Sizes on the command line: bytes ("512MB", "2GiB") and numbers of weights ("50M", "1.5B")."""

import re

from sne.errors import SneError

BYTES = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base ** (power + 1)
    for unit, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate("KMGT")
}
WEIGHTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

_NUMBER = re.compile(r"([0-9]{1,15}|[0-9]{0,15}\.[0-9]{1,15})\s*([A-Za-z]*)")


def parse_bytes(text: str) -> int:
    """Returns the number of bytes that a text stands for.

    Args:
        text: A number and a unit: B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).

    Raises:
        SneError: The text is no such size, or less than one byte.

    Example:
        >>> parse_bytes("512MB"), parse_bytes("1.5 gib")
        (512000000, 1610612736)
    """
    return _parse(text, BYTES, "a number of bytes, such as 512MB, 1GB or 2GiB")


def parse_weights(text: str) -> int:
    """Returns the number of weights that a text stands for.

    Args:
        text: A number, perhaps with K (thousand), M (million), B (billion) or T (trillion).

    Raises:
        SneError: The text is no such number, or less than one.

    Example:
        >>> parse_weights("50M"), parse_weights("1.5B")
        (50000000, 1500000000)
    """
    return _parse(text, WEIGHTS, "a number of weights, such as 200000, 50M or 1.5B")


def _parse(text: str, units: dict[str, int], expected: str) -> int:
    factors = {unit.lower(): factor for unit, factor in units.items()}
    found = _NUMBER.fullmatch(text.strip())
    unit = found[2].lower() if found else ""
    if not found or unit not in factors or not (size := int(float(found[1]) * factors[unit])):
        raise SneError(f"{text!r} is not {expected}")
    return size
