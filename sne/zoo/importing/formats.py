"""The formats that zoos are imported from, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sne.zoo.errors import ZooError
from sne.zoo.importing.folder import import_folder
from sne.zoo.importing.small_cnn_zoo import import_small_cnn_zoo
from sne.zoo.store import Zoo

FORMATS: Mapping[str, Callable[..., Zoo]] = {
    "folder": import_folder,
    "small-cnn-zoo": import_small_cnn_zoo,
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
        form: "folder" (checkpoints and a CSV) or "small-cnn-zoo" (its published layout).
        source: the folder, or the CSV.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where the source does not say.
        skip_bad: leave out what cannot be read, in place of an error.
        storage: "float32" or "float16".
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
