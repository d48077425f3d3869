"""`sne compare`: what one checkpoint is to another."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.options import AllowNonfinite, Select
from sne.cli.progress import file_progress
from sne.cli.tables import format_table, say, warn
from sne.errors import counted

if TYPE_CHECKING:
    from sne.provenance import Comparison
    from sne.provenance.evidence import Evidence

_MOST_ROWS = 12


def compare(
    first: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="A checkpoint.")],
    second: Annotated[
        str, typer.Argument(metavar="OTHER", show_default=False, help="The checkpoint to compare it to.")
    ],
    merged_with: Annotated[
        str | None,
        typer.Option(
            "--merged-with",
            metavar="FILE",
            show_default=False,
            help="A third checkpoint, to test whether FILE is a weighted mean of OTHER and this one.",
        ),
    ] = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show all tensors instead of the {_MOST_ROWS} that changed most.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON line.")] = False,
) -> None:
    """Say what one checkpoint is to another.

    The relation is one of: identical, same function (a copy with permuted, rescaled or sign-flipped units), precision
    (rounded or quantised), pruned (entries, units or blocks), low-rank update (a merged LoRA), partial fine-tune (some
    layers were trained further), fine-tune (one was trained further from the other), same initialisation (both start
    from the same weights, and nothing shows that one was made from the other), merge, independent, and not comparable.
    Units are hidden neurons or channels. Names of tensors may differ: renamed, prefixed, added and resized tensors are
    matched, and the units of the second network are brought into the order of the first one. The direction says which
    one was made from which, with its probability where the values do not show it.

    The p-value is the probability of such an agreement of hidden units between independent networks. There is none
    where names and shapes do not show which units may be permuted; what had to be assumed is stated. The table has one
    row per tensor: the cosine of both, the norm of the change relative to the first tensor, the number of singular
    values that hold 99% of the change, and the shares of zeros.
    """
    from sne.provenance import compare as compare_networks

    with file_progress() as progress:
        found = compare_networks(
            first, second, merged_with, select=select, allow_nonfinite=allow_nonfinite, on_progress=progress
        )
    for name, tensors in zip((found.first, found.second), found.left_out, strict=True):
        if tensors:
            warn(f"{name}: layers with NaN or infinite values are left out: {', '.join(tensors)}")
    if as_json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    say(format_table([{"": name, " ": value} for name, value in _summary(found).items()]).split("\n", 1)[1])
    rows = [evidence for evidence in found.layers if show_all or evidence.relative_change > 0]
    shown = rows if show_all else sorted(rows, key=lambda evidence: -evidence.relative_change)[:_MOST_ROWS]
    if shown:
        say()
        say(format_table([_row(evidence) for evidence in shown]))
    if len(shown) < len(found.layers):
        equal = len(found.layers) - len([one for one in found.layers if one.relative_change > 0])
        say()
        say(f"{len(shown)} of {counted(len(found.layers), 'tensor')} shown; {equal} of all are equal. --all shows all.")


def _summary(found: "Comparison") -> dict[str, str]:
    """Returns the lines above the table."""
    direction = {
        "second from first": f"the second from the first, confidence {found.confidence:.2f}",
        "first from second": f"the first from the second, confidence {found.confidence:.2f}",
    }
    lines = {
        "first": found.first,
        "second": found.second,
        "relation": found.relation.value,
        "made": direction.get(found.direction or "", ""),
        "evidence": found.why,
        "p-value": _p_value(found.p_value),
        "alignment": ", ".join(found.aligned),
        "assumed": found.assumed,
    }
    resized = [f"{pair.first.name}: {pair.size_difference}" for pair in found.matching.pairs if pair.size_difference]
    lines["resized"] = "; ".join(resized[:3]) + (f"; and {len(resized) - 3} more" if len(resized) > 3 else "")
    for name, places in (("only first", found.matching.only_first), ("only second", found.matching.only_second)):
        names = ", ".join(place.name for place in places[:3])
        lines[name] = (
            f"{counted(len(places), 'tensor')}: {names}" + (", ..." if len(places) > 3 else "") if places else ""
        )
    return {name: value for name, value in lines.items() if value}


def _p_value(value: float | None) -> str:
    from sne.provenance.independence import LEAST_REPORTED

    if value is None:
        return "-"
    return f"{value:.2g}" if value > LEAST_REPORTED else f"below {value:.0g}"


def _row(evidence: "Evidence") -> dict[str, Any]:
    pair = evidence.pair
    row: dict[str, Any] = {"tensor": pair.first.name}
    if pair.second.name != pair.first.name:
        row["counterpart"] = pair.second.name
    return {
        **row,
        "shape": " x ".join(str(size) for size in pair.first.shape if size > 1) or "1",
        "change": evidence.detail or ("changed" if evidence.change.value == "other" else evidence.change.value),
        "cosine": evidence.cosine,
        "relative change": evidence.relative_change,
        "rank": evidence.rank or None,
        "zeros": f"{evidence.zeros[0]:.0%} / {evidence.zeros[1]:.0%}",
    }
