"""A card as Markdown with YAML front matter, as the README.md of a model repository on Hugging Face has it."""

import json
import re

from sne.errors import counted
from sne.health import Severity
from sne.report.contents import Contents
from sne.report.drawing import shape_of
from sne.report.facts import Group, title_of_card
from sne.report.judgement import plain
from sne.report.markup import clean

MOST_LINES = 40
"""Largest number of lines of a list or a table."""

_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~&$]|:(?=//)|^[-+=](?= |$)")


def model_card(contents: Contents) -> str:
    """Writes a card as Markdown.

    The front matter holds tags only: the network's format, and that the card was made by sne. License, data sets and
    measured results are no part of the weights and are left to their author; predictions are not given as results.

    Args:
        contents: What the card says.
    """
    facts, judgement = contents.facts, contents.judgement
    lines = [f"# {text(title_of_card(facts))}", "", text(contents.summary), ""]
    lines += [f"**{text(judgement.headline)}**", ""]
    lines += [f"- {text(reason)}" for reason in judgement.reasons]
    lines += ["", *_predicted(contents), *_health(contents), *_what(contents), *_influence(contents)]
    lines += _relatives(contents)
    lines += [
        "---",
        "",
        f"Made by sne {contents.version} from the weights alone: no data were read, and nothing in the file was "
        "executed.",
    ]
    return front_matter({"tags": _tags(contents)}) + "\n".join(lines) + "\n"


def front_matter(values: dict[str, list[str]]) -> str:
    r"""Writes YAML front matter. Strings are written as in JSON, which YAML reads as they were.

    Args:
        values: Lists of strings by key.

    Example:
        >>> print(front_matter({"tags": ["sne", 'a "b": c']}), end="")
        ---
        tags:
        - "sne"
        - "a \"b\": c"
        ---
    """
    lines = ["---"]
    for key, items in values.items():
        lines += [f"{key}:", *(f"- {json.dumps(clean(item), ensure_ascii=False)}" for item in items)]
    return "\n".join([*lines, "---", ""])


def text(said: str) -> str:
    r"""Escapes text for Markdown, so that it reads as it is.

    Example:
        >>> print(text("<b>*a*|"))
        \<b\>\*a\*\|
    """
    return _SPECIAL.sub(r"\\\g<0>", clean(said))


def code(said: str) -> str:
    """Writes a name as code; quotes of code within it are allowed for, and so are the bars of tables.

    Example:
        >>> print(code("fc.weight"), code("a`b"))
        `fc.weight` `` a`b ``
    """
    said = clean(said, 120).replace("|", "¦")
    longest = max((len(run) for run in re.findall("`+", said)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {said} {fence}" if longest or said.startswith(" ") or not said else f"`{said}`"


def _tags(contents: Contents) -> list[str]:
    kinds = (contents.facts.format or "").partition(",")[0].lower().replace(" ", "-")
    return ["sne-card", *([kinds] if kinds else [])]


def _predicted(contents: Contents) -> list[str]:
    lines = ["## Predicted from the weights", ""]
    if not contents.predictions:
        return [*lines, f"Nothing: {text(contents.unpredicted or '')}", ""]
    if contents.is_guess:
        return [*lines, f"No prediction: {text(contents.why_guess)}.", ""]
    lines += ["| property | value | 90% interval |", "|---|---|---|"]
    for prediction in contents.predictions:
        value = prediction.value if isinstance(prediction.value, str) else f"{prediction.value:.3g}"
        ends = ""
        if prediction.low is not None and prediction.high is not None:
            ends = f"{prediction.low:.3g} to {prediction.high:.3g}"
        if prediction.probabilities:
            ends = f"probability {max(prediction.probabilities.values()):.2f}"
        lines.append(f"| {text(plain(prediction.property))} | {text(value)} | {text(ends)} |")
    lines += ["", *(f"Caution: {text(doubt)}." for doubt in contents.doubts)] if contents.doubts else []
    if contents.learned_from:
        lines += ["", f"The predictor has learned from {text(contents.learned_from)}. Nothing was measured on data."]
    return [*lines, ""]


def _health(contents: Contents) -> list[str]:
    lines = ["## Health", ""]
    findings = contents.health.findings
    if not findings:
        read = counted(len(contents.health.tensors), "tensor")
        return [*lines, f"Nothing found in {read}, which were read to the end.", ""]
    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
    for found in findings[:MOST_LINES]:
        lines.append(f"- **{words[found.severity]}**, {code(found.location)}: {text(found.message)}. {text(found.why)}")
    lines += [f"- and {len(findings) - MOST_LINES:,} more"] if len(findings) > MOST_LINES else []
    return [*lines, ""]


def _what(contents: Contents) -> list[str]:
    facts = contents.facts
    stored = ", ".join(f"{kind} ({count:,})" for kind, count in facts.dtypes.items())
    lines = ["## What it is", ""]
    lines += [f"- Format: {text(facts.format)}"] if facts.format else []
    layers, levels = counted(facts.num_layers, "layer"), counted(facts.num_levels, "level")
    lines += [f"- Size: {counted(facts.num_weights, 'weight')}, {layers}, {levels}"]
    lines += [f"- Stored as: {text(stored)}"]
    lines += [f"- Quantisation: {text(facts.quantisation)}"] if facts.quantisation else []
    lines += [f"- Tied: {' = '.join(code(one) for one in tie)}" for tie in facts.ties[:5]]
    lines += [f"- Tensors set aside: {_remark(group)}" for group in facts.set_aside[:10]]
    lines += [f"- Not read: {_remark(group)}" for group in facts.unread[:10]]
    lines += [f"- Remark on how tensors were read: {_remark(group)}" for group in facts.doubts[:10]]
    lines += [f"- Caution: {text(doubt)}" for doubt in contents.doubts if not contents.predictions]
    lines += ["", "| level | layer | type and size | times |", "|---|---|---|---|"]
    rows = [(block, column, cell) for block in contents.blocks for column in block.columns for cell in column.cells]
    for block, column, cell in rows[:MOST_LINES]:
        times = block.times * cell.count
        lines.append(f"| {column.level} | {code(cell.layer.name)} | {text(shape_of(cell.layer))} | {times:,} |")
    lines += ["", f"The first {MOST_LINES} of {len(rows):,} different layers."] if len(rows) > MOST_LINES else []
    return [*lines, ""]


def _remark(group: Group) -> str:
    """Names one of the tensors or entries of a group, counts the others, and gives the reason."""
    others = f" and {counted(group.count - 1, 'other')}" if group.count > 1 else ""
    return f"{code(group.names[0])}{others}: {text(group.reason)}"


def _influence(contents: Contents) -> list[str]:
    found = contents.influence
    if found is None or not contents.predictions:
        return []
    main = contents.predictions[0].property
    lines = [f"## Which layers the predicted {text(plain(main))} rests on", ""]
    lines += ["Change of the prediction when the weights of these layers are shuffled within their tensors.", ""]
    lines += ["| layers | change |", "|---|---|"]
    lines += [f"| {code(group.label)} | {group.changes[main]:+.3f} |" for group in found.groups]
    return [*lines, ""]


def _relatives(contents: Contents) -> list[str]:
    found = contents.relatives
    if found is None:
        return []
    lines = ["## Relatives", "", f"Among {counted(found.num_networks, 'network')} of an index:", ""]
    for hit in found.hits:
        relation = hit.relation.value if hit.relation else "similar"
        lines.append(f"- {code(hit.path)}: {text(relation)}{f', {text(hit.direction)}' if hit.direction else ''}")
    return [*lines, *([] if found.hits else ["- none"]), ""]
