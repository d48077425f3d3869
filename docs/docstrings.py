"""Extension of griffe: the sections of docstrings that mkdocstrings does not know under their names here."""

import re
from typing import Any

import griffe


class Sections(griffe.Extension):
    """Turns "Example:" into a section of examples, and "Source:" and "Differs:" into paragraphs.

    A colon in the first line of "Returns:" is a part of the sentence: what stands before it is no type.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of one object, before it is parsed."""
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        obj.docstring.value = re.sub(
            r"^(Source|Differs|Inverse|Default): (.*(?:\n +\S.*)*)",
            lambda found: f"\n**{found[1]}.** " + " ".join(found[2].split()),
            text,
            flags=re.MULTILINE,
        )
        obj.docstring.value = re.sub(
            r"^((?:Returns|Yields):\n +)(.*)$",
            lambda found: found[1] + found[2].replace(": ", ":\N{NO-BREAK SPACE}"),
            obj.docstring.value,
            flags=re.MULTILINE,
        )
