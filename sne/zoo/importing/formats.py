"""The formats that zoos are imported from, by name, and the import itself: one checkpoint at a time, bad ones named."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from sne.errors import ZooError
from sne.zoo.importing.contract import Checkpoint, Format
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
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports a zoo; never holds more than a shard of weights.

    Networks get the symmetry that names, shapes and what the format says of them make certain, see `symmetry_by_name`.

    Args:
        form: one of `FORMATS`: "folder" (checkpoints and a CSV), "hugging-face" (folders with model cards or a hub
            cache), or the published layout of "small-cnn-zoo", "schuerholt", "sine-inr", "small-transformer-zoo".
        source: the folder; of "folder" also the CSV, of "sine-inr" also the split.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where the source does not say.
        skip_bad: leave out what cannot be read, in place of an error.
        storage: as `ZooWriter` takes it.
        report: called with one line for each checkpoint that cannot be imported, and for what is missing.
        progress: called with checkpoints done and checkpoints in all.

    Raises:
        ZooError: the format is not known, nothing of it is there, or a checkpoint cannot be imported and none may be
            left out, or none can be; no zoo is written then.
    """
    if form not in FORMATS:
        raise ZooError(f"format {form!r} is not known, expected one of {', '.join(FORMATS)}")
    tell = report or (lambda line: None)
    found = FORMATS[form](Path(source), dataset, tell)
    bad, count = 0, len(found.checkpoints)
    with ZooWriter(out, storage=storage, split=found.split) as writer:
        for done, read in enumerate(found.checkpoints, 1):
            try:
                _add(writer, read())
            except ZooError as error:
                bad += 1
                tell(str(error))
            if progress:
                progress(done, count)
        if bad and (bad == count or not skip_bad):
            raise ZooError(f"{bad} of {count} checkpoints of {source} cannot be imported")
    return Zoo.open(out)


import_folder = partial(import_zoo, "folder")
import_small_cnn_zoo = partial(import_zoo, "small-cnn-zoo")
import_schuerholt = partial(import_zoo, "schuerholt")
import_sine_inr = partial(import_zoo, "sine-inr")
import_small_transformer_zoo = partial(import_zoo, "small-transformer-zoo")
import_hugging_face = partial(import_zoo, "hugging-face")


def _add(writer: ZooWriter, one: Checkpoint) -> None:
    writer.add_flat(
        id=one.id, run=one.run, family=one.family, dataset=one.dataset, step=one.step,
        layout=one.weights.layout, vector=one.weights.vector, symmetry=one.weights.symmetry,
        properties=one.properties, hyperparameters=one.hyperparameters,
    )  # fmt: skip
