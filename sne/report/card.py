"""`sne.card`: what the weights of a checkpoint say, for people."""

from pathlib import Path
from typing import Any, final

from sne.checkpoints.read import Readable
from sne.predictors import Predictor
from sne.report.card_page import card_page
from sne.report.contents import Contents, collect
from sne.report.model_card import model_card
from sne.work import write_atomically


@final
class Card:
    """A card of a checkpoint.

    Args:
        contents: What it says.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def __repr__(self) -> str:
        """Names the checkpoint and the verdict."""
        return f"<Card of {self.contents.facts.name}: {self.contents.judgement.headline}>"

    def html(self) -> str:
        """Returns a page of one file that makes no network requests and has no scripts."""
        return card_page(self.contents)

    def markdown(self) -> str:
        """Returns Markdown with YAML front matter, as the README.md of a model repository has it."""
        return model_card(self.contents)

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as plain values."""
        return self.contents.to_json()

    def write(self, path: str | Path, *, as_markdown: bool | None = None) -> None:
        """Writes the card.

        Args:
            path: The file.
            as_markdown: Whether to write Markdown rather than a page; None: if the name ends in .md.

        Raises:
            WriteError: The file cannot be written.
        """
        is_markdown = str(path).lower().endswith(".md") if as_markdown is None else as_markdown
        write_atomically(path, self.markdown() if is_markdown else self.html())


def card(
    source: Readable,
    *,
    predictor: Predictor | str | Path | None = "default",
    index: str | Path | None = None,
    select: str | None = None,
    most_relatives: int = 10,
    with_influence: bool = True,
) -> Card:
    """Makes a card of a checkpoint: its verdict, health, predicted properties, layers and relatives.

    Values are read to the end, also where some are NaN or infinite. Nothing is executed and no data are needed.

    Args:
        source: What `sne.read_network` reads.
        predictor: A predictor, the name of a packaged one or the folder of one; None to predict nothing.
        index: Folder of an index (`sne index`) in which relatives are searched; None for none.
        select: Name of the network to read where the source holds several, as in `sne.read_network`.
        most_relatives: Largest number of relatives.
        with_influence: Whether to measure which layers the predictions rest on, the slowest part.

    Returns:
        The card, which can be written as a page, as Markdown or as JSON.

    Raises:
        sne.CheckpointError: The source holds no network that can be read.
        PredictorError: There is no such predictor.
        ProvenanceError: The index cannot be opened.

    Example:
        >>> import torch
        >>> found = card(torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)))
        >>> found.contents.facts.num_weights, found.html().startswith("<!doctype html>")
        (1210, True)
    """
    return Card(
        collect(
            source,
            predictor=predictor,
            index=index,
            select=select,
            most_relatives=most_relatives,
            with_influence=with_influence,
        )
    )
