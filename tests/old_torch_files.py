"""Writers of the layouts in which old versions of torch saved."""

import io
import pickle
import struct
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch


class Numbered(pickle.Pickler):
    """Pickles tensors as the numbers that they have in the member `tensors`."""

    def __init__(self, stream: Any, numbers: dict[int, int]):
        super().__init__(stream, 2)
        self.numbers = numbers

    def persistent_id(self, value: Any) -> Any:
        return str(self.numbers[id(value)]) if isinstance(value, torch.Tensor) else None


def write_old_tar(state: dict[str, torch.Tensor], file: Path) -> None:
    """Writes float32 tensors as `torch.save` did before 0.1.10; torch still reads it, without weights_only."""
    numbers = {id(value): 100 + index for index, value in enumerate(state.values())}
    storages, tensors = io.BytesIO(), io.BytesIO()
    pickle.dump(len(state), storages, 2)
    pickle.dump(len(state), tensors, 2)
    for index, value in enumerate(state.values()):
        flat = value.detach().contiguous().flatten()
        pickle.dump((index, "cpu", torch.FloatStorage), storages, 2)
        storages.write(struct.pack("<q", flat.numel()) + flat.numpy().tobytes())
        pickle.dump((100 + index, index, torch.FloatTensor), tensors, 2)
        stride = torch.empty(value.shape).stride()
        axes = (*value.shape, *stride, 0)
        tensors.write(struct.pack(f"<ii{len(axes)}q", value.ndim, 0, *axes))
    pickle.dump([], storages, 2)
    content = io.BytesIO()
    Numbered(content, numbers).dump(OrderedDict(state))
    system = pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)
    members = {
        "sys_info": system,
        "pickle": content.getvalue(),
        "tensors": tensors.getvalue(),
        "storages": storages.getvalue(),
    }
    with tarfile.open(file, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
