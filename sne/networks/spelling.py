"""How the components of names are written: their words, the number at their end, and their natural order."""

import re
from functools import lru_cache

_TIMES = re.compile(r"\d+x\d+")
_NUMBER = re.compile(r"^(.*?)[_.]?(\d{1,18})([a-z]?)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DIGITS = re.compile(r"(\d{1,18})")  # Python refuses to convert thousands of digits


@lru_cache(maxsize=65536)
def snake_case(component: str) -> str:
    """Returns a name in lower case with its words joined by "_".

    Example:
        >>> snake_case("LayerNorm")
        'layer_norm'
    """
    return _CAMEL.sub("_", component).lower()


@lru_cache(maxsize=65536)
def split_number(component: str) -> tuple[str, tuple[int, str] | None]:
    """Cuts a counting number off a name.

    Args:
        component: One component of a dotted path.

    Returns:
        The name without the number, in snake case; and the number with the letter that may follow it, or None.

    Example:
        >>> split_number("conv1"), split_number("Mixed_5b"), split_number("conv_3x3")
        (('conv', (1, '')), ('mixed', (5, 'b')), ('conv_3x3', None))
    """
    snake = snake_case(component)
    match = None if _TIMES.search(snake) else _NUMBER.match(snake)
    if match is None:
        return snake, None
    return match[1], (int(match[2]), match[3])


@lru_cache(maxsize=65536)
def natural_key(name: str) -> tuple[str | int, ...]:
    """Returns a sort key that puts `h.2` before `h.10`."""
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(_DIGITS.split(name)))
