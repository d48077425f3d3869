"""Reading pages in tests: hostile names, and the check that a page does nothing but show text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></style></script><script>alert(1)</script>",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe\u202c\u2066",
    "\x00\x1b[31m\x7f\r\nline",
    "\ud800 alone",
    "שלום.weight",
    "very_long." * 5000,
    "${alert(1)} {{7*7}} {scripts}",
]  # fmt: skip
"""Names that a file may hold."""


class Reader(HTMLParser):
    """Collects elements, attributes and text of a page, and finds elements that are not closed."""

    def __init__(self, source: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in ("meta", "br", "img", "hr", "input", "link", "wbr", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def assert_harmless(source: str) -> Reader:
    """Checks that a page is well formed, requests nothing, and runs nothing that its policy does not know."""
    found = Reader(source)
    assert not found.open
    assert not [key for _, key, _ in found.attributes if key.startswith("on")]
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    for _, key, value in found.attributes:
        if key in ("src", "href", "action", "data", "xlink:href"):
            assert (value or "").startswith("#")
    assert "url(" not in source and "@import" not in source
    (policy,) = [value for tag, key, value in found.attributes if tag == "meta" and key == "content" and "src" in value]
    for tag in ("style", "script"):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    return found
