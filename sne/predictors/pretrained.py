"""The predictors that are part of this package, ready to use without training."""

from pathlib import Path

from sne.errors import PredictorError
from sne.predictors.folder import CONFIG
from sne.predictors.hub import SCHEME, fetch_predictor

DEFAULT = "default"
"""Name of the packaged predictor that is used where none is named."""


def packaged_predictors() -> list[str]:
    """Returns the names of the packaged predictors."""
    return sorted(path.parent.name for path in _root().glob(f"*/{CONFIG}"))


def pretrained_folder(name: str | Path = DEFAULT) -> Path:
    """Returns the folder of a packaged predictor, of one of the user's, or of one that is fetched from the Hub.

    Args:
        name: Name of a packaged predictor, a folder, or `hf://org/name[@revision]`; a `Path` is always a folder.

    Raises:
        PredictorError: There is no such packaged predictor and no such folder, or both are there, or the Hub has no
            such predictor.
    """
    if isinstance(name, str) and name.startswith(SCHEME):
        return fetch_predictor(name)
    known = packaged_predictors()
    if isinstance(name, str) and name in known:
        if (Path(name) / CONFIG).is_file():
            raise PredictorError(f"{name}: a packaged predictor and a folder; write ./{name} for the folder")
        return _root() / name
    if Path(name).is_dir():
        return Path(name)
    raise PredictorError(
        f"{name}: no such predictor folder, and no packaged predictor of that name ({', '.join(known) or 'none'})"
    )


def _root() -> Path:
    return Path(__file__).parent.parent / "pretrained"
