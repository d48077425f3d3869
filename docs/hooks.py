"""Hooks of mkdocs: pages from outside docs/, links to them, and drawings that follow the colours of the page."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("benchmarks/results/**/*.md", "benchmarks/results/**/*.png", "sne/pretrained/*/README.md", "CHANGELOG.md")
"""Pages and pictures that the documentation links to and that belong beside the code."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from outside docs/, under their path in the repository."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            file = File(name, str(ROOT), config.site_dir, config.use_directory_urls)
            file.name = path.stem  # else a README becomes the front page of the section that lists it
            files.append(file)
    return files


def in_repository(uri: str) -> str:
    """Path in the repository of a page or a file of the site."""
    return uri if (ROOT / uri).is_file() and not (ROOT / "docs" / uri).is_file() else f"docs/{uri}"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links between files of the repository into links between pages.

    A link to a file that is no page of the site, such as a module, becomes its text.
    """
    here = posixpath.dirname(in_repository(page.file.src_uri))

    def turned(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        path, hash_sign, anchor = link.partition("#")
        if "://" in link or not path:
            return match[0]
        target = posixpath.normpath(posixpath.join(here, path)).removeprefix("docs/")
        if mark and target.endswith(".svg"):
            return drawing(ROOT / "docs" / target, text)
        if files.get_file_from_path(target) is None:
            return text
        link = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{mark}[{text}]({link}{hash_sign}{anchor})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", turned, markdown)


def drawing(path: Path, text: str) -> str:
    """A drawing as part of the page, so that its lines take the colour of the text."""
    svg = re.sub(r"<style>.*?</style>\s*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    svg = re.sub(r"\n\s*", "", svg)
    return f'<figure class="drawing">{svg}<figcaption>{text}</figcaption></figure>'
