"""Layout files: names and shapes of an architecture's tensors, and where recognition puts each of them.

A file holds any number of layouts. A layout is a line `[name]`, one line per tensor, and one line per note that
says that an order or the type of a norm is a guess:

    [torchvision resnet]
    conv1.weight 8,3,7,7 | 0 conv2d weight
    bn1.weight 8 | 1 batch_norm scale
    attn.in_proj_weight 24,8 | 2 attention_query weight 0:8/0; 2 attention_key weight 8:8/0; ...
    ! the order of the modules in the root is a guess: alpha, beta

Left of the bar stand the tensor's name, its shape and, unless it is float32, its dtype. Right of it stand the level,
layer type and role of each part, `in-first` for a weight stored [in, out], and `start:length/axis` for a slice, or
`start:run:step:length/axis` for one that repeats with a period.

To add a layout, append what this command prints to a file in `tests/networks/layouts/`, and check each line:

    python tests/layout_files.py "its name" model.safetensors
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sne.networks import Layer, Note, Part, TensorInfo, recognise

FOLDER = Path(__file__).parent / "networks" / "layouts"


def read_layouts() -> Iterator[tuple[str, list[str]]]:
    """Name and lines of every stored layout."""
    for path in sorted(FOLDER.glob("*.txt")):
        for text in path.read_text().split("\n["):
            head, *lines = text.strip().removeprefix("[").splitlines()
            yield f"{path.stem}: {head.removesuffix(']')}", [line for line in lines if line]


def infos_of(lines: list[str]) -> dict[str, TensorInfo]:
    """The tensors that a layout lists."""
    infos = {}
    for line in lines:
        if not line.startswith("!"):
            name, shape, *dtype = line.partition(" |")[0].split()
            sizes = () if shape == "scalar" else tuple(int(size) for size in shape.split(","))
            infos[name] = TensorInfo(name, sizes, dtype[0] if dtype else "float32")
    return infos


def lines_of(infos: Mapping[str, TensorInfo]) -> list[str]:
    """The lines of a layout as recognition reads it now."""
    layers, notes = recognise(infos)
    places: dict[str, list[tuple[Layer, Part]]] = {name: [] for name in infos}
    first = {}
    for number, layer in enumerate(layers):
        for part in layer.parts:
            places[part.tensor].append((layer, part))
            first.setdefault(part.tensor, number)
    lines = []
    for name in sorted(infos, key=lambda name: (first.get(name, len(layers)), list(infos).index(name))):
        info = infos[name]
        dtype = "" if info.dtype == "float32" else f" {info.dtype}"
        shape = ",".join(map(str, info.shape)) or "scalar"
        where = "; ".join(_place(layer, part) for layer, part in places[name]) or "set aside"
        lines.append(f"{name} {shape}{dtype} | {where}")
    return lines + sorted(f"! {note.reason}" for note in notes if _is_told(note))


def _place(layer: Layer, part: Part) -> str:
    words = [str(layer.level), layer.type.value, part.role.value]
    if part.in_axis is not None and part.out_axis is not None and part.in_axis < part.out_axis:
        words.append("in-first")
    if part.axis is not None:
        repeats = f"{part.run}:{part.step}:" if part.step else ""
        words.append(f"{part.start}:{repeats}{part.shape[part.axis]}/{part.axis}")
    return " ".join(words)


def _is_told(note: Note) -> bool:
    return "guess" in note.reason or "norm without running statistics" in note.reason


if __name__ == "__main__":
    import sne

    source = sne.read_network(sys.argv[2]).source
    print("\n".join([f"[{sys.argv[1]}]", *lines_of(source.infos)]))
