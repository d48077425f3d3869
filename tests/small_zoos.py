"""Small zoos for the tests of reading, verifying and merging."""

from pathlib import Path

import torch

from sne.zoo import Split, ZooWriter


def write_zoo(
    path: Path,
    *,
    name: str = "n",
    family: str = "mlp",
    count: int = 6,
    width: int = 3,
    split: bool = False,
    properties=lambda i: {"test_accuracy": i / 10},
    hyperparameters=lambda i: {"depth": 1},
    **options,
) -> list[torch.Tensor]:
    """Two checkpoints a run, every second run of a wider layout; gives the flat vectors."""
    generator = torch.Generator().manual_seed(len(name) + width)
    runs = [f"{name}-run{i // 2}" for i in range(count)]
    cut = Split(tuple(dict.fromkeys(runs[4:])), (runs[0],), (runs[2],)) if split else None
    vectors = []
    with ZooWriter(path, split=cut, **options) as writer:
        for i in range(count):
            rows = width + i // 2 % 2
            state = {
                "0.weight": torch.randn(rows, 2, generator=generator),
                "0.bias": torch.randn(rows, generator=generator),
            }
            vectors.append(torch.cat([tensor.flatten() for tensor in state.values()]))
            writer.add(
                id=f"{name}{i}", run=runs[i], family=family, dataset="toy", step=i, state=state,
                properties=properties(i), hyperparameters=hyperparameters(i),
            )  # fmt: skip
    return vectors


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}
