"""From a block of networks to what a predictor says about them: values, intervals, p-values."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sne.encoders import Limits
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.domain import LEAST_P
from sne.predictors.expert_sum import Computed, ExpertSum
from sne.predictors.intervals import Interval, Ranges, ends_by_domain
from sne.predictors.prediction import PredictedBlock, Prediction, Sample
from sne.predictors.properties import Property, output_slices
from sne.predictors.sources import OnError, report_doubts, without_bad


def predict_block(
    experts: ExpertSum,
    block: list[Network],
    intervals: Mapping[str, Interval],
    intervals_outside: Mapping[str, Interval],
    *,
    errors: OnError,
    limits: Limits,
    tell: Callable[[str, list[str]], None] | None,
) -> Iterator[PredictedBlock]:
    """Lets experts predict networks; bad ones are taken out.

    Args:
        experts: The experts.
        block: The networks.
        intervals: How the intervals of each property that has some are made.
        intervals_outside: The same for networks outside the known domain.
        errors: What to do with a network that cannot be predicted, see `sne.Predictor.predict`.
        limits: Limits on memory and on the number of weights that are read.
        tell: As for `sne.predictors.sources.read_sources`.

    Yields:
        The networks in order: one block as a rule, several where one has been taken out or is read in part.

    Raises:
        PredictorError: A prediction is not finite.
    """
    is_sampled = any(experts.is_sampled(network, limits) for network in block)
    if is_sampled and len(block) > 1:
        for network in block:
            yield from predict_block(
                experts, [network], intervals, intervals_outside, errors=errors, limits=limits, tell=tell
            )
        return

    def compute(some: list[Network]) -> tuple[Computed, Sample | None]:
        found, sample = experts.compute_sample(some[0], limits) if is_sampled else (experts.compute(some, limits), None)
        if (bad := (~found.values.isfinite().all(1)).nonzero()).numel():
            name = some[int(bad[0])].name
            raise PredictorError(f"{name}: the prediction is not finite; are the weights sound?")
        return found, sample

    for good, (found, sample) in without_bad(block, compute, errors):
        if sample is not None:
            report_doubts(tell, good[0].name, [sample.describe(experts.properties)])
        yield PredictedBlock(
            names=tuple(network.name for network in good),
            values=found.values.numpy(),
            logits=found.logits.numpy(),
            embedding=found.embedding.numpy(),
            **_ends(found, experts.properties, intervals, intervals_outside),
            num_as_stored=_count_as_stored(good) if experts.is_canonical else 0,
            sample=sample,
            p_values=None if found.p_values is None else found.p_values.numpy(),
        )


def predictions_of(block: PredictedBlock, properties: Sequence[Property]) -> list[Prediction]:
    """Returns one prediction per network of a block and property."""
    slices = list(zip(properties, output_slices(properties), strict=True))
    p_values = [None] * len(block.names) if block.p_values is None else block.p_values.tolist()
    return [
        _prediction(name, prop, where, values, ends, block.sample, p_value)
        for name, values, low, high, p_value in zip(
            block.names, block.values, block.low, block.high, p_values, strict=True
        )
        for (prop, where), *ends in zip(slices, low, high, strict=True)
    ]


def _ends(
    found: Computed,
    properties: Sequence[Property],
    intervals: Mapping[str, Interval],
    intervals_outside: Mapping[str, Interval],
) -> dict[str, Float[np.ndarray, "networks properties"]]:
    """Computes the ends of the intervals; nan where there are none."""
    low, high = np.full((2, len(found.values), len(properties)), np.nan)
    is_outside = found.is_outside.numpy()
    for n, (prop, where) in enumerate(zip(properties, output_slices(properties), strict=True)):
        if prop.kind != "class":
            ranges = Ranges(*(part[:, where.start].numpy() for part in (found.values, found.low, found.high)))
            inside, outside = intervals.get(prop.name), intervals_outside.get(prop.name)
            low[:, n], high[:, n] = ends_by_domain(prop, ranges, is_outside, inside, outside)
    return {"low": low, "high": high}


def _count_as_stored(networks: Sequence[Network]) -> int:
    from sne.symmetry import canonicalize  # many modules, which other predictors do not need

    return sum(canonicalize(network) is network for network in networks)


def _prediction(
    source: str,
    prop: Property,
    where: slice,
    row: np.ndarray,
    ends: Sequence[float],
    sample: Sample | None,
    p_value: float | None,
) -> Prediction:
    values = row[where]
    best = int(values.argmax())
    sampling = (
        (None, None, None)
        if sample is None
        else (sample.num_read, sample.num_weights, float(sample.differences[where][best]))
    )
    in_domain = None if p_value is None else p_value >= LEAST_P
    if prop.kind == "class":
        chances = dict(zip(prop.classes, values.tolist(), strict=True))
        return Prediction(source, prop.name, prop.classes[best], None, None, chances, *sampling, p_value, in_domain)
    low, high = (None if np.isnan(end) else float(end) for end in ends)
    return Prediction(source, prop.name, float(values[0]), low, high, None, *sampling, p_value, in_domain)
