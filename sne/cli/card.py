"""`sne card`: what the weights of a checkpoint say, as a page for people."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.files import Failures, expand
from sne.cli.options import Files, PredictorFolder, Select
from sne.cli.tables import say
from sne.errors import SneError


def card(
    files: Files,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="The page to write, such as card.html; for several files, the folder for their pages.",
        ),
    ] = None,
    predictor: PredictorFolder = "default",
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default=False, help="Index, made by sne index, in which relatives are searched."
        ),
    ] = None,
    most: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Largest number of relatives.")] = 10,
    influence: Annotated[
        bool,
        typer.Option(
            "--influence/--no-influence",
            help="Measure which layers the prediction rests on; the slowest part for large networks.",
        ),
    ] = True,
    select: Select = None,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Write Markdown with YAML front matter, as the README.md of a model on Hugging Face; without --out on "
            "stdout.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per file with all that the card says.")
    ] = False,
) -> None:
    """Make a page that says what a checkpoint is.

    The page begins with a verdict: broken, untrained, doubtful, or nothing wrong found, with the predicted value and
    its rank among the networks that the predictor knows. Below stand the predicted properties with intervals, the
    health of the network (each finding with its place and why it matters), what it is (format, layers by depth, types,
    ties, what was set aside), which layers the prediction rests on, and its relatives in an index. The page is one
    file, needs no network and has no scripts.
    """
    from sne.predictors import Predictor
    from sne.report import card as make_card
    from sne.work import check_can_write, check_can_write_folder

    if out is None and not (markdown or as_json):
        raise SneError("no output is asked for; name --out card.html, --markdown or --json")
    sources, failures = expand(files), Failures()
    places = _places(sources, out, ".md" if markdown else ".html")
    if out is not None:
        (check_can_write if len(sources) == 1 else check_can_write_folder)(out)
    loaded = Predictor.from_pretrained(predictor)
    for path, place in zip(sources, places, strict=True):
        try:
            made = make_card(
                path, predictor=loaded, index=index, select=select, most_relatives=most, with_influence=influence
            )
        except (SneError, OSError) as error:
            failures(path, error)
            continue
        if place is not None:
            made.write(place, as_markdown=markdown or None)
        if as_json:
            print(json.dumps(made.to_json()))
        elif place is None:
            print(made.markdown(), end="")
        else:
            say(f"{place}: {made.contents.judgement.headline}")
    failures.report(len(sources))


def _places(sources: list[str], out: Path | None, suffix: str) -> list[Path | None]:
    """Returns where each card is written: to the path of the only one, else into a folder under the file's name."""
    if out is None:
        return [None] * len(sources)
    if len(sources) == 1:
        return [out]
    if out.suffix in (".html", ".md"):
        raise SneError(f"--out is {out}, but there are {len(sources)} files; name a folder for their pages")
    places: list[Path | None] = []
    for source in sources:
        stem, number = Path(source).name, 2
        place = out / f"{stem}{suffix}"
        while place in places:
            place, number = out / f"{stem}-{number}{suffix}", number + 1
        places.append(place)
    return places
