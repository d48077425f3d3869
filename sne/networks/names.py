"""Names of tensors and modules: natural order, numbers, and the words that say what a module does."""

import re
from collections.abc import Iterable
from functools import lru_cache

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")

_DIGITS = re.compile(r"(\d+)")
_NUMBER = re.compile(r"^(.*?)[_.]?(\d+)([a-z]?)$")
_TIMES = re.compile(r"\d+x\d+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_NORM = re.compile(r"norm|(^|_)(bn|ln|gn|rms)(_|\d|$)")
_POSITION = re.compile(
    r"^wpe$|(^|_)pos(ition(al)?|itions)?(_|$|s$)|pos_?emb|position|relative_attention_bias|inv_freq|rel_pos"
)
_EMBEDDING = re.compile(r"^wte$|^shared$|embed(?!_out)|^emb(_|$)|_emb$|(cls|mask|dist|class|register)_tokens?$")
_QUERY = re.compile(r"^(to_|w|linear_|lin_)?(q|query)(_proj|_lin|_linear|_layer)?(_weight)?$")
_KEY = re.compile(r"^(to_|w|linear_|lin_)?(k|key)(_proj|_lin|_linear|_layer)?(_weight)?$")
_VALUE = re.compile(r"^(to_|w|linear_|lin_)?(v|value)(_proj|_lin|_linear|_layer)?(_weight)?$")
_QKV = re.compile(r"^(to_|w)?qkv(_proj)?$|^c_attn$|^in_proj(_weight)?$")
_OUT = re.compile(r"^(c_proj|out_proj|o_proj|o|wo|out|to_out|dense|out_lin|proj|output|linear_o|attn_out)$")


@lru_cache(maxsize=65536)
def snake_case(component: str) -> str:
    """`LayerNorm` -> `layer_norm`: lower case, words joined by "_"."""
    return _CAMEL.sub("_", component).lower()


@lru_cache(maxsize=65536)
def natural_key(name: str) -> tuple[str | int, ...]:
    """A sort key that puts `h.2` before `h.10`."""
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(_DIGITS.split(name)))


@lru_cache(maxsize=65536)
def split_number(component: str) -> tuple[str, tuple[int, str] | None]:
    """Cuts a counting number off a name: `conv1` -> conv, 1; `Mixed_5b` -> mixed, 5b; `conv_3x3` has none.

    Args:
        component: one component of a dotted path.

    Returns:
        The base in lower case, words joined by "_", and the number or None.
    """
    snake = snake_case(component)
    match = None if _TIMES.search(snake) else _NUMBER.match(snake)
    if match is None:
        return snake, None
    return match[1], (int(match[2]), match[3])


def common_prefix(names: Iterable[str]) -> str:
    """The wrapper prefix (`module.`, `_orig_mod.`, `model.`) that all names share, also several in a row."""
    names = list(names)
    prefix = ""
    while names:
        for wrapper in WRAPPER_PREFIXES:
            if all(name.startswith(prefix + wrapper) for name in names):
                prefix += wrapper
                break
        else:
            break
    return prefix


def is_norm(component: str) -> bool:
    """Whether a module of this name is a normalisation."""
    return _NORM.search(snake_case(component)) is not None


def is_position(component: str) -> bool:
    """Whether a tensor or module of this name holds positions."""
    snake = snake_case(component)
    return "proj" not in snake and _POSITION.search(snake) is not None


def is_embedding(component: str) -> bool:
    """Whether a tensor or module of this name holds embeddings."""
    snake = snake_case(component)
    return "proj" not in snake and _EMBEDDING.search(snake) is not None


@lru_cache(maxsize=65536)
def attention_word(component: str) -> str:
    """The part in an attention that a name stands for.

    Args:
        component: one component of a dotted path.

    Returns:
        "query", "key", "value", "qkv", "out" or "".
    """
    snake = snake_case(component)
    for word, pattern in (("query", _QUERY), ("key", _KEY), ("value", _VALUE), ("qkv", _QKV), ("out", _OUT)):
        if pattern.match(snake):
            return word
    return ""
