"""`sne inspect`: the layers of checkpoints, and the tensors that were not understood."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.files import Failures, expand
from sne.cli.options import AllowNonfinite, Files, Select
from sne.cli.tables import printable, say
from sne.errors import SneError, counted

if TYPE_CHECKING:
    from sne.networks import Network, Part

_CHUNK_SIZE = 32
_MAX_NAMES = 3
_WIDEST = 4096


def inspect(
    files: Files,
    chunk_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Also show in how many chunks of N weights the encoder of the paper reads each tensor. Default: only "
            f"with --json, for N = {_CHUNK_SIZE}.",
        ),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Also read the values and show min, max and mean |x| of each tensor.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print only one line per file that says what the network is.")
    ] = False,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per file.")] = False,
) -> None:
    """Show the layers of checkpoints.

    Prints one row per tensor, in the order of layers: the level (depth; layers side by side share a level), the name
    and the type of the layer, and the role, shape and type of the tensor. Notes below the table name the tensors that
    were set aside, with the reason.
    """
    from sne.checkpoints import read_network
    from sne.networks import summarise

    sources, failures = expand(files), Failures()
    for path in sources:
        try:
            network = read_network(path, select=select, allow_nonfinite=allow_nonfinite)
            line = summarise(network)
            described = {} if summary else _describe(path, network, chunk_size or _CHUNK_SIZE, stats)
        except (SneError, OSError) as error:
            failures(path, error)
            continue
        if as_json:
            print(json.dumps({"file": path, "summary": line} | described))
        elif summary:
            say(f"{path}: {line}")
        else:
            _show(described, stats, with_chunks=chunk_size is not None)
    failures.report(len(sources))


def _describe(path: str, network: "Network", chunk_size: int, stats: bool) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "type": layer.type.value,
            "level": layer.level,
            "parts": [_describe_part(network, part, chunk_size, stats) for part in layer.parts],
        }
        for layer in network.layers
    ]
    return {
        "file": path,
        "layers": layers,
        "notes": [{"tensor": note.tensor, "reason": note.reason} for note in network.notes],
        "num_layers": len(layers),
        "num_levels": network.num_levels,
        "num_weights": network.num_weights,
        "num_chunks": sum(part["chunks"] for layer in layers for part in layer["parts"]),
    }


def _describe_part(network: "Network", part: "Part", chunk_size: int, stats: bool) -> dict[str, Any]:
    from sne.encoders.chunking import num_chunks

    described: dict[str, Any] = {
        "tensor": part.tensor,
        "role": part.role.value,
        "label": part.label,
        "shape": list(part.shape),
        "dtype": network.source.infos[part.tensor].dtype,
        "chunks": num_chunks(part, chunk_size),
    }
    if stats and part.num_entries:
        values = network.read(part)
        described |= {
            "min": values.min().item(),
            "max": values.max().item(),
            "mean_abs": values.abs().mean().item(),
        }
    return described


_COLUMNS = ("level", "layer", "type", "role", "shape", "dtype")


def _show(described: dict[str, Any], stats: bool, *, with_chunks: bool) -> None:
    from rich.console import Console

    nouns = ["layer", "level", "weight", *(["chunk"] if with_chunks else [])]
    names = [*_COLUMNS, *(["chunks"] if with_chunks else []), *(("min", "max", "mean |x|") if stats else ())]
    rows = []
    for layer in described["layers"]:
        head = [str(layer["level"]), printable(layer["name"]), layer["type"]]
        for part in layer["parts"]:
            shape = " x ".join(str(size) for size in part["shape"]) or "scalar"
            row = [*head, part["role"], shape, part["dtype"], *([str(part["chunks"])] if with_chunks else [])]
            if stats:
                row += [f"{part[key]:.4g}" if key in part else "-" for key in ("min", "max", "mean_abs")]
            rows.append(row)
            head = ["", "", ""]
    # Lines are never cut, not even on a narrow terminal: users copy the names.
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, width=_WIDEST)
    header, *lines = _aligned([names, *rows])
    console.print(printable(described["file"]), style="italic")
    console.print(header, style="bold")
    for line in lines:  # a table of rich takes minutes for the layers of a large mixture of experts
        print(line, file=console.file)
    console.print(", ".join(counted(described[f"num_{noun}s"], noun) for noun in nouns))
    for line in _notes(described["notes"]):
        console.print(printable(line))
    console.print()


def _aligned(rows: list[list[str]]) -> list[str]:
    """Writes rows in columns; all but names and other words are aligned to the right."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    words = [name in ("layer", "type", "role", "shape", "dtype") for name in rows[0]]
    lines = []
    for row in rows:
        cells = []
        for text, width, is_word in zip(row, widths, words, strict=True):
            blank = " " * (width - cell_len(text))
            cells.append(text + blank if is_word else blank + text)
        lines.append("  ".join(cells).rstrip())
    return lines


def _notes(notes: list[dict[str, str]]) -> list[str]:
    """Writes one line per reason, with the names of its tensors."""
    names_by_reason: dict[str, list[str]] = {}
    for note in notes:
        names_by_reason.setdefault(note["reason"], []).append(note["tensor"])
    lines = []
    for reason, names in names_by_reason.items():
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        shown = ", ".join(names[:_MAX_NAMES]) + more
        lines.append(f"note: {shown}: {reason}")
    return lines
