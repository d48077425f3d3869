"""Importing zoos: the formats by name, and the import itself, which reads one checkpoint at a time."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sne.errors import Remedy, ZooError, counted
from sne.zoo.importing.column_roles import ColumnChoice
from sne.zoo.importing.contract import Checkpoint, ColumnUse, Format
from sne.zoo.importing.folder import find_folder
from sne.zoo.importing.hugging_face import find_hugging_face
from sne.zoo.importing.schuerholt import find_schuerholt
from sne.zoo.importing.sine_inr import find_sine_inr
from sne.zoo.importing.small_cnn_zoo import find_small_cnn_zoo
from sne.zoo.importing.small_transformer_zoo import find_small_transformer_zoo
from sne.zoo.store.writing import ZooWriter
from sne.zoo.store.zoo import Zoo

FORMATS: Mapping[str, Format] = {
    "folder": find_folder,
    "small-cnn-zoo": find_small_cnn_zoo,
    "schuerholt": find_schuerholt,
    "sine-inr": find_sine_inr,
    "small-transformer-zoo": find_small_transformer_zoo,
    "hugging-face": find_hugging_face,
}


def import_zoo(
    form: str,
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    path_column: str | None = None,
    run_column: str | None = None,
    properties: Sequence[str] = (),
    hyperparameters: Sequence[str] = (),
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    on_columns: Callable[[Sequence[ColumnUse]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports a zoo. At most one shard of weights is held in memory.

    Every network gets the symmetries that its names, its shapes and the statements of the format make certain, see
    `symmetry_by_name`.

    Args:
        form: Format, one of `FORMATS`: "folder" (checkpoints and a CSV file), "hugging-face" (folders with model cards,
            or a hub cache), or a published zoo as "small-cnn-zoo", "schuerholt", "sine-inr", "small-transformer-zoo".
        source: Folder of the zoo; for "folder" also its CSV file, for "sine-inr" also its split.
        out: Folder of the new zoo.
        dataset: Data set that the networks were trained on, used where the source names none.
        path_column: Column of the CSV with the file names of the checkpoints. Default: "path", or else the column whose
            entries are files. This and the following three are for "folder" only.
        run_column: Column of the CSV that groups the checkpoints of one training run. Default: "run".
        properties: Columns of the CSV that are properties; if given, columns without another role are left out.
            Default: all columns without another role.
        hyperparameters: Columns of the CSV that are hyper-parameters, next to those called "config.*".
        skip_bad: Leave out checkpoints that cannot be read. By default they are an error.
        storage: Type in which weights are stored: "float32", "float16" or "bfloat16".
        report: Called with one line for each checkpoint that cannot be read, and for anything missing or left out.
        on_columns: Called with the use of every column of the CSV before any checkpoint is read.
        progress: Called with the number of checkpoints done and the number of all.

    Returns:
        The new zoo.

    Raises:
        ZooError: The format is not known, the source has nothing of it, a column holds values of several kinds, or a
            checkpoint cannot be read and `skip_bad` is not set, or none can be read. Nothing is written then.
        WriteError: The folder of the new zoo cannot be written.
    """
    find = _format(form, ColumnChoice(path_column, run_column, properties, hyperparameters))
    tell = report or (lambda line: None)
    writer = ZooWriter(out, storage=storage)  # before the source is searched: it may be large, and the folder full
    found = find(Path(source), dataset, tell)
    if on_columns and found.columns:
        on_columns(found.columns)
    writer.split = found.split
    bad, count = found.num_missing, len(found.checkpoints) + found.num_missing
    if bad and not skip_bad:
        raise _bad_checkpoints(source, bad, count)
    with writer:
        for done, read in enumerate(found.checkpoints, 1):
            try:
                _add(writer, read())
            except ZooError as error:
                bad += 1
                tell(str(error))
            if progress:
                progress(done, len(found.checkpoints))
        if bad and (bad == count or not skip_bad):
            raise _bad_checkpoints(source, bad, count)
        for line in writer.mixed_hyperparameters:
            tell(f"{line}; stored as text")
    return Zoo.open(out)


def _format(form: str, choice: ColumnChoice) -> Format:
    if form not in FORMATS:
        raise ZooError(f"format {form!r} is not known, expected one of {', '.join(FORMATS)}")
    if form == "folder":
        return partial(find_folder, choice=choice)
    if choice != ColumnChoice():
        raise ZooError(f"columns can be chosen for the format 'folder' only, not for {form!r}")
    return FORMATS[form]


def _bad_checkpoints(source: Path | str, bad: int, count: int) -> ZooError:
    remedies = () if bad == count else (Remedy("skip_bad", True, "leaves them out"),)
    return ZooError(f"{bad} of {counted(count, 'checkpoint')} of {source} cannot be imported", *remedies)


def _add(writer: ZooWriter, one: Checkpoint) -> None:
    writer.add_flat(
        id=one.id, run=one.run, family=one.family, dataset=one.dataset, step=one.step,
        layout=one.weights.layout, vector=one.weights.vector, symmetry=one.weights.symmetry,
        properties=one.properties, hyperparameters=one.hyperparameters,
    )  # fmt: skip
