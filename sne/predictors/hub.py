"""Predictors on the Hugging Face Hub: fetched into its cache, and pushed with a model card."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sne.checkpoints.remote import parse_hub_address
from sne.errors import PredictorError, install_hint
from sne.predictors.folder import CONFIG, METRICS, MODEL, SPLIT, PredictorFiles

SCHEME = "hf://"
CARD = "README.md"

_CARD = """---
library_name: sne
tags:
- weight-space-learning
---

# {name}

Predicts properties of neural networks from their weights alone, with `sne`:

    sne predict model.safetensors --predictor {address}
"""
_FIGURES = """
## Figures

Out of fold, on runs that took no part in the training of the fold:

"""


def fetch_predictor(address: str) -> Path:
    """Fetches a predictor from the Hub into the cache of `huggingface_hub`.

    Files that are in the cache already are not fetched again. Only the four files of a predictor are fetched.

    Args:
        address: `hf://org/name[@revision]`.

    Returns:
        Its folder in the cache.

    Raises:
        PredictorError: There is no such repository, it holds no predictor, or `huggingface_hub` is not installed.
    """
    parts = parse_hub_address(address)
    if parts.file:
        raise PredictorError(f"{address}: names a file, expected a repository: hf://org/name[@revision]")
    hub = _client(address)
    try:
        folder = hub.snapshot_download(
            parts.repository,
            revision=parts.revision,
            allow_patterns=[CONFIG, MODEL, METRICS, SPLIT],
            endpoint=hub.constants.ENDPOINT,
            library_name="sne",
        )
    except Exception as error:  # the errors of its HTTP client have no class that all versions share
        raise PredictorError(f"{address}: cannot be fetched: {_first_line(error)}") from error
    if not (Path(folder) / CONFIG).is_file():
        raise PredictorError(f"{address}: not a predictor, {CONFIG} is missing")
    return Path(folder)


def push_predictor(
    files: PredictorFiles, repository: str, *, private: bool | None = None, revision: str | None = None, message: str
) -> str:
    """Writes a predictor and its model card into a repository of the Hub, as one commit.

    The repository is created if it is not there. A model card that is there already is left as it is.

    Args:
        files: Contents of the predictor's folder.
        repository: Name of the repository, `org/name`.
        private: Whether a new repository is private; None for the owner's default.
        revision: Branch that the commit goes to; None for the default branch.
        message: Message of the commit.

    Returns:
        Address of the commit.

    Raises:
        PredictorError: The Hub refuses it, cannot be reached, or `huggingface_hub` is not installed.
    """
    hub = _client(repository)
    api = hub.HfApi(endpoint=hub.constants.ENDPOINT, library_name="sne")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files.write(folder)
        try:
            name = api.create_repo(repository, private=private, exist_ok=True).repo_id
            if not api.file_exists(name, CARD, revision=revision):
                (folder / CARD).write_text(model_card(name, files.metrics), encoding="utf-8")
            commit = api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=message)
        except Exception as error:  # as above
            raise PredictorError(f"{repository}: cannot be pushed: {_first_line(error)}") from error
    return commit.commit_url


def model_card(repository: str, metrics: Mapping[str, Any]) -> str:
    """Writes the model card of a predictor: how it is used, and the figures of its training run.

    Args:
        repository: Name of the repository, `org/name`.
        metrics: What metrics.json holds.

    Example:
        >>> print(model_card("ada/small", {"validation": {"test_accuracy": {"kendall_tau": 0.71, "n": 90}}}))
        ---
        library_name: sne
        tags:
        - weight-space-learning
        ---
        <BLANKLINE>
        # small
        <BLANKLINE>
        Predicts properties of neural networks from their weights alone, with `sne`:
        <BLANKLINE>
            sne predict model.safetensors --predictor hf://ada/small
        <BLANKLINE>
        ## Figures
        <BLANKLINE>
        Out of fold, on runs that took no part in the training of the fold:
        <BLANKLINE>
        | property | kendall_tau | r2 | mae | coverage | accuracy | networks |
        |---|---|---|---|---|---|---|
        | test_accuracy | 0.710 | - | - | - | - | 90 |
        <BLANKLINE>
    """
    shown = ("kendall_tau", "r2", "mae", "coverage", "accuracy")
    validation = metrics.get("validation") or {}
    rows = [
        " | ".join([f"| {name}", *(_number(figures.get(metric)) for metric in shown), f"{figures.get('n', '-')} |"])
        for name, figures in validation.items()
    ]
    if not rows:
        return _CARD.format(name=repository.rpartition("/")[2], address=f"{SCHEME}{repository}")
    head = [f"| property | {' | '.join(shown)} | networks |", f"|{'---|' * (len(shown) + 2)}"]
    return model_card(repository, {}) + _FIGURES + "\n".join([*head, *rows, ""])


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _client(address: str) -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import constants as constants
    except ImportError as error:
        raise PredictorError(f"{address}: the Hub needs the package huggingface_hub; {install_hint('hub')}") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines or [type(error).__name__])[0][:200]
