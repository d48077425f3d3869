"""Reader of exported programs (.pt2), as `torch.export.save` of torch 2.8 and later writes them.

Source: torch.export.pt2_archive and torch._export.serde.schema (torch 2.13).
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.module import class_hint
from sne.checkpoints.raw_data import DTYPES, parse_json
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors, is_row_major, mark_tied
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 34: "uint32", 35: "uint64",
}  # fmt: skip
"""Element types by their numbers in `torch._export.serde.schema.ScalarType`."""
_WEIGHTS, _CONFIG = "data/weights/", "_weights_config.json"
_MAX_JSON = 100_000_000
_MAX_AXES = 64
_PICKLED = "stored as a pickle of a tensor subclass; not read"
_CONSTANT = "a constant of the program, not a weight"


def is_exported_program(start: FileStart) -> bool:
    """Whether a file is a zip archive with the list of weights that `torch.export.save` writes."""
    return any(_WEIGHTS in name and name.endswith(_CONFIG) for name in start.members)


@final
class ExportedTensors(StoredTensors):
    """The weights of an exported program, under the names that they have in the module. The program is not run.

    Args:
        file: Path of the archive.
        select: Ignored; the archive holds one flat list of tensors.

    Raises:
        CheckpointError: If the archive is damaged, or holds several programs or no weights.
    """

    def __init__(self, file: FilePath, select: str | None = None):
        self._file = file
        members = read_members(file)
        configs = [name for name in members if _WEIGHTS in name and name.endswith(_CONFIG)]
        if len(configs) != 1:
            raise CheckpointError(file, f"the archive holds {len(configs)} programs ({configs[:3]}), expected one")
        root, _, name = configs[0].rpartition(_WEIGHTS)
        program = name.removesuffix(_CONFIG)
        self._places: dict[str, tuple[StoredBytes, tuple[int, ...], int]] = {}
        infos: list[TensorInfo] = []
        notes: dict[str, str] = {}
        for key, entry in _entries(self._json(members, configs[0])).items():
            if entry.get("use_pickle"):
                notes[key] = _PICKLED
                continue
            content = members.get(f"{root}{_WEIGHTS}{entry.get('path_name')}")
            if content is None:
                raise CheckpointError(file, f"the values of tensor {key!r} are missing")
            infos.append(self._place(key, entry.get("tensor_meta"), content))
        for key in _entries(self._json(members, f"{root}data/constants/{program}_constants_config.json")):
            notes[key] = _CONSTANT
        if not infos:
            raise CheckpointError(file, "the program has no weights that can be read")
        hints = _hints(self._json(members, f"{root}models/{program}.json"))
        places: dict[str, object] = {}
        for info in infos:
            content, strides, offset = self._places[info.name]
            places[info.name] = (content.key, info.shape, strides, offset) if info.num_entries else None
        super().__init__(str(file), infos, hints=mark_tied(hints, places), notes=notes)

    def _json(self, members: Mapping[str, StoredBytes], name: str) -> Any:
        """Parses a member of the archive; None if it is not there."""
        content = members.get(name)
        if content is None:
            return None
        if content.size > _MAX_JSON:
            raise CheckpointError(self._file, f"{name} has {content.size} bytes, at most {_MAX_JSON} are read")
        return parse_json(content.read_bytes(0, content.size), self._file, name)

    def _place(self, key: str, meta: Any, content: StoredBytes) -> TensorInfo:
        """Checks where the values of a tensor are."""
        shape, strides = _numbers(meta, "sizes"), _numbers(meta, "strides")
        offset = _number(meta.get("storage_offset")) if isinstance(meta, dict) else None
        number = meta.get("dtype") if isinstance(meta, dict) else None
        dtype = _DTYPES.get(number) if isinstance(number, int) else None
        if shape is None or strides is None or offset is None or dtype is None or len(shape) != len(strides):
            raise CheckpointError(self._file, f"tensor {key!r} has no shape, strides and type that can be read")
        size = DTYPES[dtype].itemsize
        extent = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1 if prod(shape) else 0
        if (offset + extent) * size > content.size:
            needed = (offset + extent) * size
            raise CheckpointError(self._file, f"tensor {key!r} needs {needed} bytes, its member has {content.size}")
        if prod(shape) * size > content.most:
            raise CheckpointError(self._file, f"tensor {key!r} claims {prod(shape)} entries, too many for the file")
        self._places[key] = content, strides, offset
        return TensorInfo(key, shape, dtype)

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from its member of the archive."""
        info, (content, strides, offset) = self.infos[name], self._places[name]
        dtype = DTYPES[info.dtype]
        if not info.num_entries:
            return torch.empty(info.shape, dtype=dtype)
        extent = sum((n - 1) * step for n, step in zip(info.shape, strides, strict=True)) + 1
        flat = content.read(offset * dtype.itemsize, extent * dtype.itemsize).clone().view(dtype)
        return flat.as_strided(info.shape, strides).contiguous()

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor, if they lie together and are not compressed."""
        info, (content, strides, offset) = self.infos[name], self._places[name]
        if not content.is_seekable or not is_row_major(info.shape, strides):
            return None
        dtype = DTYPES[info.dtype]
        found = content.read((offset + start) * dtype.itemsize, (stop - start) * dtype.itemsize)
        return found.clone().view(dtype) if found.storage_offset() % dtype.itemsize else found.view(dtype)


def _entries(content: Any) -> dict[str, dict[str, Any]]:
    """Returns the tensors that a list of an archive names, by name."""
    config = content.get("config") if isinstance(content, dict) else None
    return {key: entry for key, entry in config.items() if isinstance(entry, dict)} if isinstance(config, dict) else {}


def _number(value: Any) -> int | None:
    found = value.get("as_int") if isinstance(value, dict) else None
    return found if type(found) is int and 0 <= found < 2**63 else None


def _numbers(meta: Any, key: str) -> tuple[int, ...] | None:
    values = meta.get(key) if isinstance(meta, dict) else None
    if not isinstance(values, list) or len(values) > _MAX_AXES:
        return None
    found = [_number(value) for value in values]
    return None if None in found else tuple(value for value in found if value is not None)


def _hints(program: Any) -> dict[str, Hint]:
    """Returns the classes of modules, and the order in which the program uses them."""
    module = program.get("graph_module") if isinstance(program, dict) else None
    if not isinstance(module, dict):
        return {}
    names = _parameter_names(module.get("signature"))
    graph = module.get("graph")
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    hints: dict[str, Hint] = {}
    for index, node in enumerate(nodes if isinstance(nodes, list) else []):
        if not isinstance(node, dict):
            continue
        metadata, inputs = node.get("metadata"), node.get("inputs")
        stack = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
        classes = _classes(stack) if isinstance(stack, str) else {}
        for item in inputs if isinstance(inputs, list) else []:
            argument = item.get("arg") if isinstance(item, dict) else None
            tensor = argument.get("as_tensor") if isinstance(argument, dict) else None
            used = tensor.get("name") if isinstance(tensor, dict) else None
            name = names.get(used) if isinstance(used, str) else None
            if name is None:
                continue
            path = name.rpartition(".")[0]
            if path and path not in hints:
                hints[path] = replace(class_hint(classes.get(path, "")) or Hint(), order=index)
    return hints


def _parameter_names(signature: Any) -> dict[str, str]:
    """Returns the names of parameters and buffers in the module, by the names of the program's inputs."""
    specs = signature.get("input_specs") if isinstance(signature, dict) else None
    found: dict[str, str] = {}
    for spec in specs if isinstance(specs, list) else []:
        for kind in ("parameter", "buffer"):
            entry = spec.get(kind) if isinstance(spec, dict) else None
            argument = entry.get("arg") if isinstance(entry, dict) else None
            if isinstance(entry, dict) and isinstance(argument, dict):
                own, name = argument.get("name"), entry.get(f"{kind}_name")
                if isinstance(own, str) and isinstance(name, str):
                    found[own] = name
    return found


def _classes(stack: str) -> dict[str, str]:
    """Returns the classes of the modules that a node runs in, by path: `key,path,class` between semicolons."""
    found: dict[str, str] = {}
    for entry in stack.split(";"):
        parts = entry.split(",")
        if len(parts) >= 3:
            found[parts[1]] = parts[-1].rpartition(".")[2]
    return found
