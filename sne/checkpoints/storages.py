"""The storages that a torch archive's pickle asks for, checked against the records that the archive has.

`torch.load` maps an archive without this check: a record cut short would be read on into its neighbour.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from sne.checkpoints.archive import Record
from sne.checkpoints.regions import DTYPES, read_bytes
from sne.errors import CheckpointError

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32",
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
"""Element types by the name of the storage class; other classes count bytes."""


class _Ignored:
    """Stands for any class or function that the pickle names; takes everything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Takes an item of a list."""

    def extend(self, values: Any) -> None:
        """Takes items of a list."""

    def add(self, value: Any) -> None:
        """Takes an item of a set."""


@final
class _Census(pickle.Unpickler):
    """Counts storages; imports and calls nothing that the pickle names."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        return type("_Named", (_Ignored,), {})

    def persistent_load(self, pid: Any, /) -> Any:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and type(pid[4]) is int):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        width = DTYPES[pid[1]].itemsize if isinstance(pid[1], str) and pid[1] in DTYPES else 1
        key = str(pid[2])
        self.sizes[key] = max(self.sizes.get(key, 0), pid[4] * width)
        return _Ignored()


def check_storages(file: Path, records: Mapping[str, Record]) -> None:
    """Refuses an archive in which a storage is missing or shorter than its pickle says.

    Args:
        file: the archive.
        records: its members.

    Raises:
        CheckpointError: for such an archive, or one whose pickle cannot be gone through.
    """
    pickles = [name for name in records if name.endswith("data.pkl") and name.count("/") <= 1]
    if len(pickles) != 1:
        raise CheckpointError(file, f"a torch archive holds one data.pkl, this one {len(pickles)}")
    record = records[pickles[0]]
    data = read_bytes(file, record.start(file), record.size, pickles[0]).numpy().tobytes()
    census = _Census(io.BytesIO(data))
    try:
        census.load()
    except Exception as error:  # a hostile pickle can raise anything
        raise CheckpointError(file, f"truncated or damaged torch file: its pickle is broken ({error})") from error
    folder = pickles[0].removesuffix("data.pkl") + "data/"
    for key, size in census.sizes.items():
        found = records.get(folder + key)
        if found is None or found.size < size:
            has = "is missing" if found is None else f"has {found.size} bytes"
            raise CheckpointError(file, f"storage {key[:40]!r} of {size} bytes {has}")
