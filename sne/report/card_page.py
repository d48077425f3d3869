"""A card as a page: the verdict first, then what it rests on."""

from collections.abc import Mapping

from sne.errors import counted
from sne.health import Severity
from sne.predictors import Prediction
from sne.report.card_health import health_section
from sne.report.contents import Contents
from sne.report.drawing import STYLE, TIMES, draw_change, draw_depth, draw_interval, draw_share, draw_state, shape_of
from sne.report.facts import Facts, Group, title_of_card
from sne.report.influence import Influence
from sne.report.judgement import State, plain
from sne.report.markup import Child, Markup, clean, element, join, name, table
from sne.report.page import page

CLASSES: Mapping[State, str] = {
    State.BROKEN: "bad",
    State.UNTRAINED: "empty",
    State.DOUBTFUL: "doubt",
    State.MIDDLING: "part",
    State.GOOD: "good",
    State.HEALTHY: "unknown",
}
"""Class of the banner, and so its colour, by state."""


MEANINGS = {
    "test_accuracy": "share of test images that are classified correctly",
    "generalization_gap": "training accuracy less test accuracy",
    "progress": "how far training has come: share of the test accuracy at the end of its run",
    "dataset": "the image set it was trained on, among those known; _gs: in grey instead of colour",
}
"""What the properties of the packaged predictor mean."""

MOST_ROWS = 200
"""Largest number of rows of the table of layers."""

CARD_STYLE = """
:root { --empty: #7a3fb0; } @media (prefers-color-scheme: dark) { :root { --empty: #c59bf0; } }
.banner { display: flex; gap: 1.1rem; align-items: center; overflow-wrap: anywhere; }
.banner > svg { color: inherit; flex: none; }
.banner strong { font-size: 1.35rem; line-height: 1.25; }
.banner.good > svg, .banner.good strong { color: var(--good); }
.banner.bad > svg, .banner.bad strong { color: var(--bad); }
.banner.doubt > svg, .banner.doubt strong { color: var(--doubt); }
.banner.unknown > svg, .banner.unknown strong { color: var(--unknown); }
.banner.empty { border-color: var(--empty); background: var(--unknown-tint); border-left-style: dashed; }
.banner.empty > svg, .banner.empty strong { color: var(--empty); }
.banner.part { border-color: var(--accent); background: var(--unknown-tint); }
.banner.part > svg, .banner.part strong { color: var(--accent); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.2rem 1.25rem; margin: 0.5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
td svg { max-width: none; } td .name { display: inline-block; min-width: 8rem; }
.guess td { color: var(--soft); font-style: italic; }
.finding { border-left: 0.25rem solid var(--line); padding-left: 0.75rem; margin: 0.75rem 0; }
.finding.bad, .finding.doubt, .finding.unknown { color: inherit; }
.finding.bad { border-color: var(--bad); } .finding.doubt { border-color: var(--doubt); }
.finding ul { margin: 0.25rem 0; padding-left: 1.1rem; }
@media (max-width: 500px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.35rem; } }
"""


def card_page(contents: Contents) -> str:
    """Writes a card as a page of one file, see `sne.report.page.page`; it needs no scripts.

    Args:
        contents: What the card says.
    """
    facts = contents.facts
    title = title_of_card(facts)
    return page(
        f"{title}: {contents.judgement.headline}",
        element("h1", clean(title, 120)),
        element("p", contents.summary, class_="soft"),
        _banner(contents),
        _predicted(contents),
        health_section(contents.health),
        _what(contents),
        _influence(contents),
        _relatives(contents),
        _footer(contents),
        style=STYLE + CARD_STYLE,
    )


def _banner(contents: Contents) -> Markup:
    judgement = contents.judgement
    lines = [element("div", clean(reason)) for reason in judgement.reasons]
    text = element("div", element("strong", judgement.headline), *lines)
    return element(
        "section", draw_state(judgement.state, judgement.share), text,
        class_=f"banner {CLASSES[judgement.state]}",
    )  # fmt: skip


def _predicted(contents: Contents) -> Markup:
    title = element("h2", "Predicted from the weights")
    if not contents.predictions:
        return element("section", title, element("p", f"Nothing: {clean(contents.unpredicted or '')}"))
    rows: list[list[Child]] = []
    for prediction in contents.predictions:
        meaning = MEANINGS.get(prediction.property)
        label = join(plain(prediction.property), meaning and element("div", meaning, class_="soft small"))
        rows.append([label, *_value(prediction, contents.is_guess)])
    known = f"The predictor has learned from {contents.learned_from}." if contents.learned_from else ""
    body = table(["property", "value", "90% interval, or chances"], rows, numbers=frozenset({1}))
    if not contents.is_guess:
        chance = contents.predictions[0].p_value
        inside = "" if chance is None else f"Like the networks that the predictor knows (p = {chance:.2g}). "
        cautions = [element("p", element("b", "Caution: "), f"{clean(doubt)}.") for doubt in contents.doubts]
        return element("section", title, body, *cautions, element("p", inside + known, class_="soft small"))
    why = clean(contents.why_guess)
    why = f"{why[:1].upper()}{why[1:]}"
    return element(
        "section",
        title,
        element("p", element("span", "No prediction", class_="badge unknown"), f" {why}. {known}"),
        element("details", element("summary", "What the predictor would guess"), element("div", body, class_="guess")),
    )


def _value(prediction: Prediction, is_guess: bool) -> list[Child]:
    """Returns the value of a prediction, in brackets if it is a guess, and its interval or the chances of classes."""
    if isinstance(prediction.value, str):
        likely = sorted((prediction.probabilities or {}).items(), key=lambda pair: -pair[1])[:3]
        said = ", ".join(f"{clean(label, 40)} {chance:.2f}" for label, chance in likely)
        value = clean(prediction.value, 40)
        return [f"({value})" if is_guess else value, element("span", said, class_="small")]
    value = f"{prediction.value:.3g}"
    value = f"({value})" if is_guess else value
    if prediction.low is None or prediction.high is None:
        return [value, ""]
    low, high = prediction.low, prediction.high
    is_fraction = 0 <= low <= high <= 1 and not prediction.property.startswith("config.")
    drawn = draw_interval(float(prediction.value), low, high, is_guess=is_guess) if is_fraction else None
    return [value, join(element("div", f"{low:.3g} to {high:.3g}"), drawn)]


def _what(contents: Contents) -> Markup:
    marks: dict[str, str] = {}
    layers = {tensor.tensor: tensor.layer for tensor in contents.health.tensors}
    layers |= {tensor.place: tensor.layer for tensor in contents.health.tensors}
    for found in contents.health.findings:
        layer = layers.get(found.location, found.location)
        if found.severity is Severity.ERROR:
            marks[layer] = "bad"
        elif found.severity is Severity.WARNING:
            marks.setdefault(layer, "doubt")
    return element(
        "section",
        element("h2", "What it is"),
        _facts(contents.facts, () if contents.predictions else contents.doubts),
        element("h3", "Layers, from input to output"),
        draw_depth(contents.blocks, marks),
        element("p", "A column per level of depth; its height is the logarithm of the number of weights. A frame is a "
                "block that repeats, a dot a finding.", class_="soft small"),
        _layers(contents),
    )  # fmt: skip


def _facts(facts: Facts, doubts: tuple[str, ...]) -> Markup:
    rows: list[tuple[str, Child]] = [("file", name(facts.name, 200))]
    if facts.format is not None:
        rows.append(("format", facts.format + ("" if facts.num_bytes is None else f", {size(facts.num_bytes)}")))
    levels = counted(facts.num_levels, "level")
    rows.append(("size", f"{counted(facts.num_weights, 'weight')}, {counted(facts.num_layers, 'layer')}, {levels}"))
    rows.append(("stored as", ", ".join(f"{kind} ({count:,})" for kind, count in facts.dtypes.items())))
    rows.append(("quantisation", clean(facts.quantisation or "none")))
    if facts.ties:
        shown: list[Child] = [element("div", _between([name(one) for one in tie], " = ")) for tie in facts.ties[:5]]
        more = [element("div", f"and {len(facts.ties) - 5:,} more")] if len(facts.ties) > 5 else []
        rows.append(("tied", join(*shown, *more)))
    rows.append(("tensors set aside", _remarks(facts.set_aside) if facts.set_aside else "none"))
    if facts.unread:
        rows.append(("not read", _remarks(facts.unread)))
    if facts.doubts:
        rows.append(("remarks", _remarks(facts.doubts)))
    if doubts:
        rows.append(("caution", join(*(element("div", clean(doubt)) for doubt in doubts))))
    return element("dl", *(join(element("dt", term), element("dd", said)) for term, said in rows))


def _remarks(groups: tuple[Group, ...], most: int = 6) -> Markup:
    """Writes a line per group: the names of its tensors or entries, and the remark."""
    rows = []
    for group in groups[:most]:
        others = group.count - len(group.names)
        reason = f" and {counted(others, 'other')}: {group.reason}" if others else f": {group.reason}"
        rows.append(element("div", _between([name(one) for one in group.names], ", "), clean(reason)))
    rows += [element("div", f"and {len(groups) - most:,} more reasons")] if len(groups) > most else []
    return join(*rows)


def _between(items: list[Markup], sign: str) -> Markup:
    return join(*items, between=sign)


def _layers(contents: Contents) -> Markup:
    rows: list[list[Child]] = []
    total = 0
    for block in contents.blocks:
        for column in block.columns:
            for cell in column.cells:
                total += 1
                if len(rows) < MOST_ROWS:
                    times = f"{TIMES} {block.times * cell.count:,}" if block.times * cell.count > 1 else ""
                    shape = shape_of(cell.layer)
                    rows.append([column.level, name(cell.layer.name), shape, cell.num_weights // cell.count, times])
    for row in rows:
        row[3] = f"{row[3]:,}"
    more = f" (the first {MOST_ROWS} of {total:,} different ones)" if total > MOST_ROWS else ""
    listed = table(["level", "layer", "type and size", "weights", "times"], rows, numbers=frozenset({0, 3}))
    return element("details", element("summary", f"Table of layers{more}"), listed)


def _influence(contents: Contents) -> Markup | None:
    if not contents.predictions or contents.is_guess:
        return None
    title = element("h2", f"Which layers the predicted {plain(contents.predictions[0].property)} rests on")
    found = contents.influence
    if found is None:
        return element("section", title, element("p", f"Not measured: {contents.unmeasured}.", class_="soft"))
    return element("section", title, _influence_table(found, contents.predictions), _influence_note(found))


def _influence_table(found: Influence, predictions: tuple[Prediction, ...]) -> Markup:
    main = predictions[0].property
    largest = max((group.movements[main] for group in found.groups), default=0.0)
    with_attention = any(group.attention is not None for group in found.groups)
    most_attended = max((group.attention or 0.0 for group in found.groups), default=0.0)
    rows: list[list[Child]] = []
    for group in found.groups:
        change = group.changes[main]
        moved = join(element("div", f"{change:+.3f}"), draw_change(change, largest))
        row: list[Child] = [name(group.label, 56), f"{group.num_weights:,}", moved]
        if with_attention:
            share = group.attention or 0.0
            row.append(join(element("div", f"{share:.0%}"), draw_share(share, most_attended)))
        rows.append(row)
    columns = ["layers", "weights", "change", *(["attention"] if with_attention else [])]
    return table(columns, rows, numbers=frozenset({1}))


def _influence_note(found: Influence) -> Markup:
    copies = counted(found.draws, "copy") if found.draws == 1 else f"the mean of {found.draws} copies"
    said = (
        "Change of the prediction when the weights of each tensor of these layers are shuffled within the tensor "
        f"({copies}). Its distribution stays, what it has learned is lost: a large change means that the prediction "
        "rests on how these neurons are connected."
    )
    if found.attention_to_outputs is not None:
        said += (
            " Attention is the share that the predictor's encoders give to these tensors when they collect what they "
            f"have read; {found.attention_to_outputs:.0%} goes to the outputs."
        )
    return element("p", said, class_="soft small")


def _relatives(contents: Contents) -> Markup | None:
    if contents.relatives is None and contents.unsearched is None:
        return None
    title = element("h2", "Relatives")
    found = contents.relatives
    if found is None:
        return element("section", title, element("p", f"Not searched: {clean(contents.unsearched or '')}."))
    among = f"among {counted(found.num_networks, 'network')} of the index"
    body: list[Child] = [element("p", f"No relative {among}.")]
    if found.hits:
        rows: list[list[Child]] = [
            [
                hit.rank,
                hit.relation.value if hit.relation else "",
                (hit.direction or "").replace("file", "this file"),
                "" if hit.p_value is None else f"{hit.p_value:.1g}",
                name(hit.path, 90),
            ]
            for hit in found.hits
        ]
        body = [element("p", f"Closest first, {among}.", class_="soft")]
        body.append(table(["", "relation", "direction", "p-value", "network"], rows, numbers=frozenset({3})))
    body += [element("p", clean(remark), class_="soft small") for remark in found.remarks[:5]]
    return element("section", title, *body)


def _footer(contents: Contents) -> Markup:
    return element(
        "footer",
        f"Made by sne {contents.version} from the weights alone: no data were read, and nothing in the file was "
        "executed. What the weights do not say, such as license, authors and measured results, is not on this card.",
    )


def size(num_bytes: int) -> str:
    """Writes a number of bytes.

    Example:
        >>> size(999), size(1_234_567)
        ('999 bytes', '1.23 MB')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.3g} {unit}"
    return counted(num_bytes, "byte")
