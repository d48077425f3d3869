"""Pages hold no more than what was meant: text stays text, and nothing is requested."""

import json
import re

import pytest
from report.report_reader import HOSTILE, Reader, assert_harmless

from sne.report.markup import Markup, clean, element, join, name, table
from sne.report.page import json_element, page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_files_stay_text(text: str):
    found = assert_harmless(page(text, element("h1", text, title=text), name(text), table([text], [[text]])))
    body = found.tags[found.tags.index("body") :]
    assert body == ["body", "main", "h1", "code", "div", "table", "thead", "tr", "th", "tbody", "tr", "td"]
    for sign in ("\x00", "\x1b", "\u202e", "\u2066", "\ud800"):
        assert sign not in "".join(found.text)


def test_text_reads_as_it_was():
    assert Reader(str(element("p", "<a> & \"b\" 'c'"))).text == ["<a> & \"b\" 'c'"]


def test_markup_is_not_escaped_twice():
    inner = element("b", "1 < 2")
    assert element("p", inner, " & ", inner) == "<p><b>1 &lt; 2</b> &amp; <b>1 &lt; 2</b></p>"
    assert isinstance(join("a"), Markup) and join(join("<"), "<") == "&lt;&lt;"


def test_long_names_are_cut_in_the_middle():
    assert len(clean("x" * 10**6)) == 401
    found = Reader(str(name("a" * 100 + "b" * 100, 20)))
    assert found.text == ["a" * 10 + "…" + "b" * 10]
    assert ("code", "title", "a" * 100 + "b" * 100) in found.attributes


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_json_reads_as_it_was(text: str):
    source = str(json_element("data", {"a": [text, 1.5, None]}))
    content = re.fullmatch(r'<script type="application/json" id="data">(.*)</script>', source)
    assert content and "<" not in content[1]
    assert json.loads(content[1]) == {"a": [text, 1.5, None]}


def test_json_refuses_what_no_script_can_read():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_element("data", float("nan"))


def test_scripts_run_by_their_hash_and_cannot_end_early():
    source = page("a", "b", scripts=["const a = '</ScRipt><b>';\r\nlet b;", "let c = '<!--<script>'"])
    found = assert_harmless(source)
    assert found.tags.count("script") == 2 and "b" not in found.tags
    assert "'unsafe-inline'" not in source


def test_policy_can_be_widened():
    source = page("a", scripts=["1"], policy={"style-src": "'unsafe-inline'", "script-src": "{scripts} 'unsafe-eval'"})
    assert re.search(r"script-src &#x27;sha256-[^;]+&#x27; &#x27;unsafe-eval&#x27;;", source)
    assert "style-src &#x27;unsafe-inline&#x27;;" in source
