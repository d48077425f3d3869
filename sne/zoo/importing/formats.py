"""The formats that zoos are imported from, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sne.zoo.errors import ZooError
from sne.zoo.importing.folder import import_folder
from sne.zoo.importing.hugging_face import import_hugging_face
from sne.zoo.importing.schuerholt import import_schuerholt
from sne.zoo.importing.sine_inr import import_sine_inr
from sne.zoo.importing.small_cnn_zoo import import_small_cnn_zoo
from sne.zoo.importing.small_transformer_zoo import import_small_transformer_zoo
from sne.zoo.store.zoo import Zoo

FORMATS: Mapping[str, Callable[..., Zoo]] = {
    "folder": import_folder,
    "small-cnn-zoo": import_small_cnn_zoo,
    "schuerholt": import_schuerholt,
    "sine-inr": import_sine_inr,
    "small-transformer-zoo": import_small_transformer_zoo,
    "hugging-face": import_hugging_face,
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
    """Imports a zoo.

    Args:
        form: one of `FORMATS`: "folder" (checkpoints and a CSV), "hugging-face" (folders with model cards or a hub
            cache), or the published layout of "small-cnn-zoo", "schuerholt", "sine-inr", "small-transformer-zoo".
        source: the folder; of "folder" also the CSV, of "sine-inr" also the split.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where the source does not say.
        skip_bad: leave out what cannot be read, in place of an error.
        storage: as `ZooWriter` takes it.
        report: called with one line for each network that cannot be imported.
        progress: called with rows done and rows in all.

    Raises:
        ZooError: the format is not known, or the import fails; no zoo is written then.
    """
    if form not in FORMATS:
        raise ZooError(f"format {form!r} is not known, expected one of {', '.join(FORMATS)}")
    return FORMATS[form](
        source,
        out,
        dataset=dataset,
        skip_bad=skip_bad,
        storage=storage,
        report=report,
        progress=progress,
    )
