"""All that a card says about a checkpoint, collected before any of it is drawn or written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sne import __version__
from sne.checkpoints import read_network
from sne.checkpoints.read import Readable
from sne.errors import CheckpointError, SneError
from sne.health import HealthReport, check, describe_head
from sne.networks import Network, summarise
from sne.predictors import Prediction, Predictor
from sne.predictors.doubts import doubts
from sne.report.depth import Block, fold
from sne.report.facts import Facts, find_facts
from sne.report.influence import Influence, find_influence
from sne.report.judgement import Judgement, State, judge

if TYPE_CHECKING:
    from sne.provenance.search import Hit

OUTSIDE = "the network is outside the known domain of the predictor, so that there is nothing to explain"
TOO_LARGE = "the network is too large to be read once per group of layers"


@dataclass(frozen=True)
class Relatives:
    """The relatives of a checkpoint in an index.

    Args:
        hits: Relatives, closest first.
        num_networks: Number of networks in the index.
        remarks: Lines on networks of the index that could not be compared.
    """

    hits: tuple["Hit", ...]
    num_networks: int
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        rows = [asdict(hit) | {"relation": hit.relation and hit.relation.value} for hit in self.hits]
        return {"hits": rows, "num_networks": self.num_networks, "remarks": list(self.remarks)}


@dataclass(frozen=True)
class Contents:
    """What a card says.

    Args:
        facts: What the checkpoint is.
        summary: The network in one line.
        blocks: Its layers in depth, repeated blocks folded.
        health: Its health.
        judgement: The verdict.
        predictions: Predicted properties; empty if nothing was predicted.
        unpredicted: Why there are none; None if there are.
        learned_from: What the predictor has learned from, in words; empty if that is not known.
        influence: Which layers the predictions rest on; None if that was not measured.
        unmeasured: Why it was not; None if it was.
        relatives: Relatives in an index; None if none was named.
        unsearched: Why an index that was named could not be searched; None if it was, or none was named.
        doubts: Reasons to doubt what is predicted: how the file was read, and a last layer that looks untrained.
        version: Version of sne.
    """

    facts: Facts
    summary: str
    blocks: tuple[Block, ...]
    health: HealthReport
    judgement: Judgement
    predictions: tuple[Prediction, ...]
    unpredicted: str | None
    learned_from: str
    influence: Influence | None
    unmeasured: str | None
    relatives: Relatives | None
    unsearched: str | None
    doubts: tuple[str, ...]
    version: str = __version__

    @property
    def is_guess(self) -> bool:
        """Whether predictions are guesses: the network is outside the known domain, or broken."""
        is_outside = any(prediction.in_domain is False for prediction in self.predictions)
        return is_outside or self.judgement.state is State.BROKEN

    @property
    def why_guess(self) -> str:
        """Why the predictions are guesses, as the end of a sentence; empty if they are not guesses."""
        if not self.is_guess:
            return ""
        if self.health.is_adapter:
            return "the file is an adapter, and no whole network"
        is_broken = self.judgement.state is State.BROKEN
        why = "the network is broken" if is_broken else "the network is outside the known domain of the predictor"
        return "; ".join([why, *self.doubts])

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as plain values; layers as names by level, with the number of turns of each block."""
        return {
            "file": self.facts.name,
            "state": self.judgement.state.value,
            "headline": self.judgement.headline,
            "reasons": list(self.judgement.reasons),
            "summary": self.summary,
            "facts": self.facts.to_json(),
            "depth": [
                {"times": block.times, "levels": [list(column.names) for column in block.columns]}
                for block in self.blocks
            ],
            "health": self.health.to_json(),
            "predictions": [_prediction(prediction) for prediction in self.predictions],
            "predictions_are_guesses": self.is_guess,
            "why_guesses": self.why_guess or None,
            "unpredicted": self.unpredicted,
            "influence": self.influence and self.influence.to_json(),
            "unmeasured": self.unmeasured,
            "relatives": self.relatives and self.relatives.to_json(),
            "unsearched": self.unsearched,
            "doubts": list(self.doubts),
            "version": self.version,
        }


def collect(
    source: Readable,
    *,
    predictor: Predictor | str | Path | None,
    index: str | Path | None,
    select: str | None,
    most_relatives: int,
    with_influence: bool,
) -> Contents:
    """Collects what a card says about a checkpoint; see `sne.card`."""
    network = read_network(source, select=select)
    health = check(network)
    usable, unusable = _usable(network, source, select, health)
    loaded = Predictor.from_pretrained(predictor) if isinstance(predictor, str | Path) else predictor
    predictions, unpredicted = _predict(loaded, usable, unusable)
    judgement = judge(health, network, loaded, predictions)
    influence, unmeasured = None, "no property was predicted"
    if predictions and loaded is not None and usable is not None:
        influence, unmeasured = _influence(loaded, usable, predictions, judgement, with_influence)
    relatives, unsearched = _relatives(network, index, most_relatives)
    return Contents(
        facts=find_facts(network),
        summary=summarise(network),
        blocks=tuple(fold(network.layers)),
        health=health,
        judgement=judgement,
        predictions=predictions,
        unpredicted=unpredicted,
        learned_from=_learned_from(loaded),
        influence=influence,
        unmeasured=unmeasured,
        relatives=relatives,
        unsearched=unsearched,
        doubts=(*doubts(usable or network), *([head] if (head := describe_head(network)) is not None else [])),
    )


def _usable(
    network: Network, source: Readable, select: str | None, health: HealthReport
) -> tuple[Network | None, str | None]:
    """Returns the network without the layers that hold NaN or infinity; None, and why, if nothing is left of it."""
    if not any(found.code in ("nonfinite", "unreadable") for found in health.findings):
        return network, None
    try:
        return read_network(source, select=select, allow_nonfinite=True), None
    except SneError as error:
        return None, _reason(error)


def _reason(error: SneError) -> str:
    """Returns the reason in one line, without a remedy: a page takes no arguments."""
    return f"{error.file}: {error.reason}" if isinstance(error, CheckpointError) else " ".join(str(error).split())


def _predict(
    predictor: Predictor | None, network: Network | None, unusable: str | None
) -> tuple[tuple[Prediction, ...], str | None]:
    if predictor is None:
        return (), "no predictor was asked"
    if network is None:
        return (), unusable
    try:
        found = predictor.predict_blocks([network])  # not `predict`, which logs what the card itself says of the head
        return tuple(one for block in found for one in predictor.predictions(block)), None
    except SneError as error:
        return (), _reason(error)


def _influence(
    predictor: Predictor,
    network: Network,
    predictions: tuple[Prediction, ...],
    judgement: Judgement,
    is_wanted: bool,
) -> tuple[Influence | None, str | None]:
    if not is_wanted:
        return None, "it was not asked for"
    if predictions[0].in_domain is False:
        return None, OUTSIDE
    if judgement.state is State.BROKEN:
        return None, "the network is broken"
    found = find_influence(predictor, network)
    return found, None if found is not None else TOO_LARGE


def _relatives(network: Network, index: str | Path | None, most: int) -> tuple[Relatives | None, str | None]:
    if index is None:
        return None, None
    from sne.provenance.index import Index  # LanceDB is an optional package
    from sne.provenance.search import search

    opened, remarks = Index.open(index), list[str]()
    if not len(opened):
        return None, "the index is empty"
    try:
        hits = search(network, opened, most=most, warn=remarks.append)
    except SneError as error:
        return None, _reason(error)
    return Relatives(tuple(hits), len(opened), tuple(remarks)), None


def _learned_from(predictor: Predictor | None) -> str:
    """Says what a predictor has learned from, as far as its record does."""
    if predictor is None or not isinstance(predictor.record.get("networks"), int):
        return ""
    said = f"{predictor.record['networks']:,} networks"
    for key, words in (("families", "of the families"), ("datasets", "of the image sets")):
        names = predictor.record.get(key)
        if isinstance(names, Mapping) and names:
            said += f" {words} {', '.join(map(str, names))}"
    return said


def _prediction(prediction: Prediction) -> dict[str, Any]:
    fields = asdict(prediction)
    if prediction.probabilities is not None:
        fields["probabilities"] = dict(prediction.probabilities)
    return {name: value for name, value in fields.items() if value is not None and name != "source"}
