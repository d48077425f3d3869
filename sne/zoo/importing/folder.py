"""Importing a user's own zoo: checkpoints, and a CSV that says what is known of each."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from sne.checkpoints import CheckpointError, read_network
from sne.networks import Network, TensorInfo, recognise
from sne.zoo.errors import ZooError
from sne.zoo.importing.tables import as_text, read_table
from sne.zoo.splitting import SPLIT, Split
from sne.zoo.store import Zoo
from sne.zoo.writing import HYPERPARAMETER_PREFIX, Value, ZooWriter

_TEXT = ("path", "id", "run", "family", "dataset")
_NAMES = (*_TEXT, "step")


def import_folder(
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports checkpoints of any kind that `read_network` reads.

    The column `path` of the CSV names the file, relative to the CSV. The columns `run` (checkpoints of one
    training run), `family`, `dataset`, `step` and `id` are used where present; columns that begin with
    "config." are hyper-parameters, all others properties. A `split.json` beside the CSV is carried over.

    Args:
        source: the CSV, or a folder with one CSV in it.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where there is no such column.
        skip_bad: leave out checkpoints that cannot be read, in place of an error.
        storage: "float32" or "float16".
        report: called with one line for each checkpoint that cannot be imported.
        progress: called with rows done and rows in all.

    Raises:
        ZooError: the table does not fit, or a checkpoint cannot be imported; no zoo is written then.
    """
    file = _find_table(Path(source))
    table = read_table(file, text=_TEXT)
    if "path" not in table:
        raise ZooError(f"{file} has no column 'path'; it has {', '.join(table)}")
    paths = as_text(table["path"])
    count = len(paths)
    if count == 0:
        raise ZooError(f"{file} has no rows")
    names = {key: as_text(table[key]) if key in table else [None] * count for key in _NAMES}
    steps = table.get("step", [0] * count)
    if not all(isinstance(step, int) for step in steps):
        raise ZooError(f"{file}: column 'step' must hold whole numbers")
    split = Split.load(file.parent / SPLIT) if (file.parent / SPLIT).is_file() else None
    bad = 0
    with ZooWriter(out, storage=storage, split=split) as writer:
        for row, path in enumerate(paths):
            values = {key: column[row] for key, column in table.items() if key not in _NAMES}
            properties, hyperparameters = _sort(values)
            try:
                if path is None:
                    raise ZooError(f"row {row + 1}: path is empty")
                writer.add(
                    id=names["id"][row] or path,
                    run=names["run"][row] or path,
                    family=names["family"][row] or "unknown",
                    dataset=names["dataset"][row] or dataset or "unknown",
                    step=int(steps[row] or 0),
                    state=_read_state(file.parent / path),
                    properties=properties,
                    hyperparameters=hyperparameters,
                )
            except ZooError as error:
                bad += 1
                if report:
                    report(str(error))
            if progress:
                progress(row + 1, count)
        if bad and (bad == count or not skip_bad):
            raise ZooError(f"{bad} of {count} checkpoints of {file} cannot be imported")
    return Zoo.open(out)


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder or CSV file")
    tables = sorted(path for path in source.iterdir() if path.name.endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise ZooError(f"{source}: expected one CSV file, found {found}; name the file itself")
    return tables[0]


def _sort(values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Properties, and hyper-parameters without their prefix."""
    hyperparameters = {
        key.removeprefix(HYPERPARAMETER_PREFIX): value
        for key, value in values.items()
        if key.startswith(HYPERPARAMETER_PREFIX)
    }
    properties = {key: v for key, v in values.items() if not key.startswith(HYPERPARAMETER_PREFIX)}
    return properties, hyperparameters


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors that a checkpoint's layers are made of, each once."""
    if not path.exists():
        raise ZooError(f"{path}: no such file")
    try:
        network = read_network(path)
        return _used_tensors(path, network)
    except CheckpointError as error:
        raise ZooError(str(error)) from None


def _used_tensors(path: Path, network: Network) -> dict[str, Tensor]:
    used = {part.tensor for _, part in network.parts()}
    state = {name: network.source.load(name) for name in network.source.infos if name in used}
    if not state:
        raise ZooError(f"{path}: no layer was recognised")
    _check_recognised(path, network, state)
    return state


def _check_recognised(path: Path, network: Network, state: Mapping[str, Tensor]) -> None:
    """A zoo keeps names, shapes and values; refuses files whose layers need to know more."""
    infos = {name: TensorInfo(name, tuple(t.shape), str(t.dtype)) for name, t in state.items()}
    layers, _ = recognise(infos)
    if [layer.parts for layer in layers] != [layer.parts for layer in network.layers]:
        raise ZooError(f"{path}: its layers cannot be told from names and shapes alone, as a zoo keeps them")
