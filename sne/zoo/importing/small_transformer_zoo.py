"""Importing the Small Transformer Zoo in its published layout."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from sne.errors import ZooError
from sne.symmetry.by_name.known import Known
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.tables import read_table
from sne.zoo.importing.weights import SymmetriesByName, read_weights
from sne.zoo.store.columns import Value

_FAMILY = "small_transformer"
_ACCURACIES = ("test_top1_accuracy", "test_accuracy")
_HEADS = "n_attention_heads"
_TEXT = ("ckpt_epoch", "ckpt_file", "dataset")


def find_small_transformer_zoo(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds the transformers that `metadata/NAME.csv` lists, in the folders NAME next to `metadata`.

    The source is the unpacked archive, NAME is `mnist` or `ag_news`. A checkpoint is `NAME/RUN_EPOCH_ACCURACY.pt`, a
    state dict with `embedding.*` (vision only; the networks for text share the file `ag_news/embedding.pt`, which is no
    network and is not read), `encoder.I.attention.{queries, keys, values, out_projection}`, `encoder.I.fc1`, `fc2`
    and `classifier.fc1`, `fc2`. The CSV has `ckpt_file`, `ckpt_epoch` (1, 50, 75, 100, or `best` or `best1` for the
    epoch of the best test accuracy), `test_top1_accuracy` (mnist) or `test_accuracy` (ag_news), and one column per
    setting. The run is the part of a file name before the first underscore. Settings become hyper-parameters. The best
    checkpoint of a run is marked `is_best`; its epoch is not in the file, so that its step is the length of the
    training. The setting `n_attention_heads`, if it is there, determines the symmetries of attention.

    Source: Tran et al., "Equivariant Neural Functional Networks for Transformers", arXiv 2410.04209; the layout as
        github.com/Fsoft-AIC/Transformer-NFN writes and reads it (`vision_task/solver.py`, `generate_metadata.py`,
        `nfn_transformer/common/data_utils.py`, the README's commands for the published archives).
    Differs: `test_top1_accuracy` is called `test_accuracy`. The archives themselves were not seen. The authors
        draw a new split each time, so that there is none to import.
    """
    tables = sorted((source / "metadata").glob("*.csv"))
    if not tables:
        raise ZooError(f"{source}: expected a folder metadata with mnist.csv or ag_news.csv")
    columns = {path: _read_metadata(path) for path in tables}
    items = [(path, row) for path, table in columns.items() for row in range(len(table["ckpt_file"]))]
    if not items:
        raise ZooError(f"{source}: the tables in metadata have no rows")
    symmetries = SymmetriesByName(tell)

    def read(path: Path, number: int) -> Checkpoint:
        row = {name: column[number] for name, column in columns[path].items()}
        file, step, is_best = _place(path, row)
        accuracy = next((row[name] for name in _ACCURACIES if row.get(name) is not None), None)
        settings = {n: v for n, v in row.items() if n not in (*_ACCURACIES, *_TEXT)}
        return Checkpoint(
            id=f"{path.stem}/{file.stem}",
            run=f"{path.stem}/{file.stem.partition('_')[0]}",
            family=_FAMILY,
            dataset=dataset or path.stem,
            step=step,
            weights=read_weights(file, symmetries, _known(row)),
            properties={"test_accuracy": accuracy, "is_best": is_best},
            hyperparameters=settings,
        )

    return Found([partial(read, *item) for item in items], split_in(source))


def _read_metadata(path: Path) -> dict[str, list[Value]]:
    table = read_table(path)
    for name in ("ckpt_file", "ckpt_epoch"):
        if name not in table.names:
            raise ZooError(f"{path} has no column {name!r}; it has {', '.join(table.names)}")
    if not any(name in table.names for name in _ACCURACIES):
        raise ZooError(f"{path} has neither of the columns {', '.join(_ACCURACIES)}")
    typed = table.columns([name for name in table.names if name not in _TEXT])
    return {name: typed[name].values if name in typed else [*table.text(name)] for name in table.names}


def _known(row: Mapping[str, Value]) -> Known:
    heads = row.get(_HEADS)
    return Known(heads=heads if isinstance(heads, int) else None, activation="relu")


def _place(table: Path, row: Mapping[str, Value]) -> tuple[Path, int, bool]:
    """File and step of a row, and whether it is the best checkpoint of its run.

    The authors' script appends the whole path of a best checkpoint to the name of the folder, so that only the last
    part of a path is used.
    """
    name, epoch = str(row["ckpt_file"] or ""), str(row["ckpt_epoch"] or "")
    if not name.strip("/"):
        raise ZooError(f"{table}: a row has no ckpt_file")
    is_best = epoch.startswith("best")
    length = row.get("epochs") if is_best else epoch
    if not str(length).isdecimal():
        expected = "a whole number in 'epochs'" if is_best else "a whole number or best"
        raise ZooError(f"{table}: {name} has ckpt_epoch {epoch!r}, expected {expected}")
    return table.parent.parent / table.stem / PurePosixPath(name).name, int(str(length)), is_best
