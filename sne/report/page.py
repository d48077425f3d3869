"""A self-contained HTML page: one file without network requests, light or dark, from 400 pixels of width."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sne.report.markup import Child, Markup, clean, element, join

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f5f6f8; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0;
  --accent: #2458b3; --good: #1a7f37; --doubt: #8a5a00; --bad: #c2202c; --unknown: #57606a;
  --good-tint: #e3f6e8; --doubt-tint: #fdf2d6; --bad-tint: #fde8e8; --unknown-tint: #eceff2;
  --kind-1: #4269d0; --kind-2: #c98a00; --kind-3: #d9455f; --kind-4: #3b9c8c; --kind-5: #3a8a4d; --kind-6: #a463d0;
  --kind-7: #8a6a4f; --kind-8: #8a929c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --panel: #1d2127; --ink: #e6e9ed; --soft: #a0a9b4;
  --line: #363d46; --accent: #82b1ff; --good: #5fd080; --doubt: #e8b84a; --bad: #ff8088; --unknown: #a0a9b4;
  --good-tint: #14301d; --doubt-tint: #352a0d; --bad-tint: #3c181b; --unknown-tint: #262b32;
  --kind-1: #7b9bf0; --kind-2: #efb118; --kind-3: #ff7e8f; --kind-4: #6cc5b0; --kind-5: #74c686; --kind-6: #c59bf0;
  --kind-7: #b8967a; --kind-8: #8d96a1; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.25rem clamp(0.75rem, 3vw, 2rem) 3rem; }
main.full { max-width: none; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 0.25rem; }
p { margin: 0.4rem 0; }
a { color: var(--accent); }
svg { display: block; max-width: 100%; }
.soft { color: var(--soft); }
.small { font-size: 0.875rem; }
code, .name { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: 0.875em; overflow-wrap: anywhere; unicode-bidi: isolate; }
pre { overflow-x: auto; background: var(--panel); padding: 0.75rem; border-radius: 0.5rem; }
.wide { overflow-x: auto; margin: 0.5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 0.8125rem; }
th, td { padding: 0.35rem 0.75rem 0.35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.75rem 1rem;
  margin: 0.75rem 0; }
.badge { display: inline-block; padding: 0 0.5rem; border-radius: 1rem; font-size: 0.8125rem; font-weight: 600;
  white-space: nowrap; }
.good { color: var(--good); } .doubt { color: var(--doubt); } .bad { color: var(--bad); }
.unknown { color: var(--unknown); }
.badge.good, .banner.good { background: var(--good-tint); }
.badge.doubt, .banner.doubt { background: var(--doubt-tint); }
.badge.bad, .banner.bad { background: var(--bad-tint); }
.badge.unknown, .banner.unknown { background: var(--unknown-tint); }
.banner { border-left: 0.4rem solid currentColor; border-radius: 0.5rem; padding: 0.75rem 1rem; margin: 1rem 0; }
.banner > * { color: var(--ink); } .banner > strong:first-child { color: inherit; font-size: 1.25rem; }
details > summary { cursor: pointer; }
footer { margin-top: 2.5rem; padding-top: 0.75rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.875rem; }
@media print { body { font-size: 12px; } details > * { display: block; } }
"""
"""Style of every page: colours as variables for both schemes, text, tables, badges and banners."""


def page(
    title: str,
    *body: Child,
    style: str = "",
    scripts: Sequence[str] = (),
    policy: Mapping[str, str] | None = None,
    is_full_width: bool = False,
) -> str:
    """Writes a page that is one file.

    A Content-Security-Policy forbids all requests, and all scripts and style sheets but those that are given here,
    which it knows by their hashes: a name from a file could run nothing even if it were not escaped.

    Args:
        title: Title of the window; it may hold names from files.
        body: Content of the page, see `sne.report.markup.Child`.
        style: Style sheet of the page, in addition to `STYLE`.
        scripts: JavaScript sources, which run in this order after the content has been read. They are inserted as
            they are, and must come from this package or from an installed one.
        policy: Content-Security-Policy directives that replace the page's own ones, such as {"style-src":
            "'unsafe-inline'"} for a library that inserts styles. "{scripts}" stands for the hashes of the scripts.
        is_full_width: Whether the content uses the whole width of the window.

    Returns:
        The page, to be written as UTF-8.

    Example:
        >>> text = page("card", element("h1", "<b>"))
        >>> "<h1>&lt;b&gt;</h1>" in text
        True
    """
    whole_style = f"{STYLE}{style}"
    hashes = " ".join(_hash(script) for script in map(_in_script, scripts)) or "'none'"
    directives = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(whole_style),
        "script-src": "{scripts}",
        "base-uri": "'none'",
        "form-action": "'none'",
        **(policy or {}),
    }
    content = "; ".join(f"{name} {value.replace('{scripts}', hashes)}" for name, value in directives.items())
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=content),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="generator", content="sne"),
        element("title", clean(title)),
        element("style", Markup(whole_style)),
    )
    inner = join(
        element("main", *body, class_="full" if is_full_width else None),
        *(element("script", Markup(_in_script(script))) for script in scripts),
    )
    return f"<!doctype html>\n{element('html', head, element('body', inner), lang='en')}\n"


def json_element(identifier: str, values: Any) -> Markup:
    r"""Writes values that a script reads: `JSON.parse(document.getElementById(identifier).textContent)`.

    Args:
        identifier: The element's id.
        values: Plain JSON values; NaN and infinity are refused.

    Example:
        >>> json_element("points", {"name": "</script>"})
        '<script type="application/json" id="points">{"name":"\\u003c/script\\u003e"}</script>'
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return element("script", Markup(text), type="application/json", id=identifier)


def _in_script(source: str) -> str:
    r"""Writes a script such that it cannot end its element: "</script" in it becomes "<\/script".

    Carriage returns become line breaks, as they do when the page is read: the hash is that of what is read.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("<(/script|!--)", r"<\\\1", source, flags=re.IGNORECASE)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
