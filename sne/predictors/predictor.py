"""The predictor: weighted experts that predict properties of networks, with intervals."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import ENCODERS, Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.domain import LEAST_P, Domain
from sne.predictors.expert_sum import Computed, ExpertSum
from sne.predictors.experts import EXPERTS, Expert
from sne.predictors.folder import CONFIG, MODEL, PredictorFiles
from sne.predictors.intervals import Interval, Ranges
from sne.predictors.prediction import PredictedArrays, PredictedBlock, Prediction, Sample
from sne.predictors.properties import Property, num_outputs, output_slices
from sne.predictors.saved import build_parts, contents_of
from sne.predictors.sources import OnError, Source, blocks, expand_sources, read_sources, report_doubts, without_bad
from sne.predictors.spreading import spread
from sne.work import Executor
from sne.zoo import Split

_MOST_REASON = 500  # characters; torch's messages about arguments have many lines


class Predictor:
    """Predicts properties of networks from their weights, as a weighted mean of experts.

    Args:
        encoder: Reads networks for the experts (`prepare` and `summarize`); its learned parameters are not used.
        properties: The properties to predict.
        experts: Experts that predict them.
        weights: Weight of each expert for each property; not negative, and of sum 1 for each property.
        intervals: How the 90% intervals of each property that has some are made.
        intervals_outside: The same for networks outside the known domain. Without them, the interval of a fraction
            is all of [0, 1] there, and other numbers have none.
        domain: The networks that it knows; None if that is not known.
        split: Which runs of its zoo it was trained on.
        record: How it was trained (zoo, split, settings, versions), as plain JSON values.
        metrics: Validation figures, as plain JSON values.

    Raises:
        PredictorError: Weights and experts do not fit each other.
    """

    def __init__(
        self,
        encoder: NetworkEncoder,
        properties: Sequence[Property],
        experts: Sequence[Expert],
        weights: Float[np.ndarray, "experts properties"],
        *,
        intervals: Mapping[str, Interval | None] | None = None,
        intervals_outside: Mapping[str, Interval | None] | None = None,
        domain: Domain | None = None,
        split: Split | None = None,
        record: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ):
        if not experts or not properties:
            raise PredictorError(f"a predictor needs experts and properties, got {len(experts)} and {len(properties)}")
        if weights.shape != (len(experts), len(properties)):
            raise PredictorError(f"weights have shape {weights.shape}, expected {(len(experts), len(properties))}")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=0), 1, atol=1e-6)):
            raise PredictorError("the weights of the experts are negative or do not add up to 1")
        self.encoder = encoder
        self.properties = tuple(properties)
        self.experts = tuple(experts)
        self.weights = weights
        self.intervals = {name: found for name, found in (intervals or {}).items() if found is not None}
        self.intervals_outside = {name: found for name, found in (intervals_outside or {}).items() if found is not None}
        self.domain = domain
        self.split = split
        self.record = dict(record or {})
        self.metrics = dict(metrics or {})
        self._sum = ExpertSum(encoder, self.properties, self.experts, weights, domain)

    def __repr__(self) -> str:
        """Names the properties, and the kinds of experts with their weights."""
        properties = ", ".join(prop.name for prop in self.properties)
        shares = ", ".join(
            f"{kind} {np.mean(list(weights.values())):.2f}" for kind, weights in self.expert_weights().items()
        )
        trained = f" trained on {self.record['networks']} networks" if "networks" in self.record else ""
        return f"<Predictor of {properties}{trained}; experts: {shares}>"

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return sum(expert.embedding_dim for expert in self.experts) or max(e.num_features for e in self.experts)

    @property
    def embeds_description(self) -> bool:
        """Whether embeddings are the descriptions of networks, because no expert with an embedding takes part."""
        return not any(expert.embedding_dim for expert in self.experts)

    @property
    def is_canonical(self) -> bool:
        """Whether networks are read at the canonical point of their orbit under scalings and sign flips."""
        return self.encoder.canonical

    def expert_weights(self) -> dict[str, dict[str, float]]:
        """Returns the weight of each kind of expert, all folds together, for each property."""
        names = {kind: name for name, kind in EXPERTS.items()}
        totals: dict[str, dict[str, float]] = {}
        for expert, row in zip(self.experts, self.weights, strict=True):
            total = totals.setdefault(names[type(expert)], dict.fromkeys((p.name for p in self.properties), 0.0))
            for prop, weight in zip(self.properties, row, strict=True):
                total[prop.name] += float(weight)
        return totals

    def find_property(self, name: str) -> Property:
        """Returns the property of that name.

        Raises:
            PredictorError: It predicts no such property.
        """
        for prop in self.properties:
            if prop.name == name:
                return prop
        raise PredictorError(f"predicts {', '.join(p.name for p in self.properties)}, not {name!r}")

    def to(self, device: str | torch.device) -> "Predictor":
        """Moves the experts to a device; networks follow by themselves."""
        for expert in self.experts:
            expert.to(torch.device(device))
        return self

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        errors: OnError = "raise",
        memory: int | None = None,
        budget: int | None = None,
        executor: Executor | None = None,
    ) -> list[Prediction]:
        """Predicts every property of every source.

        Args:
            sources: One source or several: whatever `sne.read_network` takes, globs, folders of checkpoints, or
                networks that were read before.
            batch_size: Number of networks per forward pass; it changes speed and memory only.
            errors: What to do with a source that cannot be read or predicted: "raise" stops, "skip" logs a warning
                and continues, a function is called with the name of the source and the error.
            memory: Largest resident size of the process, in bytes; None for the encoder's own bound. Larger networks
                are read piece by piece.
            budget: Largest number of weights that are read of a network; None for all. A network with more weights is
                represented by a sample, always the same one.
            executor: Workers that read files and predict, such as `sne.work.ProcessPool(8)`, with one thread each;
                sources are then paths only. None to read in this process.

        Returns:
            One prediction per source and property, sources in the order given.

        Raises:
            sne.CheckpointError: A source cannot be read whole.
            PredictorError: A prediction is not finite.
        """
        found = self.predict_blocks(
            sources, batch_size=batch_size, errors=errors, memory=memory, budget=budget, executor=executor
        )
        return [prediction for block in found for prediction in self.predictions(block)]

    def predict_blocks(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        errors: OnError = "raise",
        memory: int | None = None,
        budget: int | None = None,
        executor: Executor | None = None,
        select: str | None = None,
        allow_nonfinite: bool = False,
        tell: Callable[[str, list[str]], None] | None = None,
        is_ordered: bool = True,
    ) -> Iterator[PredictedBlock]:
        """Predicts and encodes any number of sources, in blocks as they are ready.

        Args:
            sources: As for `predict`.
            batch_size: Largest number of networks per block.
            errors: As for `predict`.
            memory: As for `predict`.
            budget: As for `predict`.
            executor: As for `predict`.
            select: Name of the network to read where a source holds several, see `sne.read_network`.
            allow_nonfinite: Whether networks with NaN or infinite weights are read, see `sne.read_network`.
            tell: Called with the name of each network that was read in part or in doubt, and the reasons; None to log
                them as a warning.
            is_ordered: Whether blocks of an executor wait, in memory, for those of earlier sources.

        Yields:
            Blocks of networks in the order of the sources, without those that were skipped; blocks of an executor in
            any order if `is_ordered` is false.

        Raises:
            sne.CheckpointError: A source cannot be read whole.
            PredictorError: A prediction is not finite, or the executor cannot read a source.
        """
        limits = Limits(memory, budget)
        if executor is not None:
            work = partial(
                self.predict_blocks,
                batch_size=batch_size,
                memory=memory,
                budget=budget,
                select=select,
                allow_nonfinite=allow_nonfinite,
            )
            yield from spread(
                work, expand_sources(sources), executor,
                part_size=batch_size, errors=errors, tell=tell, is_ordered=is_ordered,
            )  # fmt: skip
            return
        if memory is not None:
            limits.spare_memory()  # refuses a limit that this process exceeds already
        networks = read_sources(sources, errors=errors, select=select, allow_nonfinite=allow_nonfinite, tell=tell)
        for block in blocks(networks, batch_size):
            yield from self._predict_block(block, errors, limits, tell)

    def predictions(self, block: PredictedBlock) -> list[Prediction]:
        """Returns one prediction per network of a block and property."""
        slices = list(zip(self.properties, output_slices(self.properties), strict=True))
        p_values = [None] * len(block.names) if block.p_values is None else block.p_values.tolist()
        return [
            self._prediction(name, prop, where, values, ends, block.sample, p_value)
            for name, values, low, high, p_value in zip(
                block.names, block.values, block.low, block.high, p_values, strict=True
            )
            for (prop, where), *ends in zip(slices, low, high, strict=True)
        ]

    def values(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        memory: int | None = None,
        budget: int | None = None,
        executor: Executor | None = None,
    ) -> dict[str, Float[np.ndarray, "networks ..."]]:
        """Predicts as arrays.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            memory: As for `predict`.
            budget: As for `predict`.
            executor: As for `predict`.

        Returns:
            By name of the property: float64 [networks], or class probabilities [networks, classes].
        """
        return dict(self.arrays(sources, batch_size=batch_size, memory=memory, budget=budget, executor=executor).values)

    def arrays(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        memory: int | None = None,
        budget: int | None = None,
        executor: Executor | None = None,
    ) -> PredictedArrays:
        """Predicts as arrays, with intervals, and with the logits of the experts that have some.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            memory: As for `predict`.
            budget: As for `predict`.
            executor: As for `predict`.

        Returns:
            Values as `values` gives them, ends of intervals, and logits in float32.
        """
        found = list(
            self.predict_blocks(sources, batch_size=batch_size, memory=memory, budget=budget, executor=executor)
        )
        width = num_outputs(self.properties)
        values = np.concatenate([np.zeros((0, width)), *(block.values for block in found)])
        with_logits = sum(bool(expert.embedding_dim) for expert in self.experts)
        none = np.zeros((with_logits, 0, width), dtype=np.float32)
        logits = np.concatenate([none, *(block.logits for block in found)], axis=1)
        no_ends = np.zeros((0, len(self.properties)))
        low = np.concatenate([no_ends, *(block.low for block in found)])
        high = np.concatenate([no_ends, *(block.high for block in found)])
        slices = dict(zip(self.properties, output_slices(self.properties), strict=True))
        return PredictedArrays(
            {p.name: values[:, where] if p.kind == "class" else values[:, where.start] for p, where in slices.items()},
            {p.name: logits[:, :, where] for p, where in slices.items()},
            {p.name: (low[:, n], high[:, n]) for n, p in enumerate(self.properties) if p.kind != "class"},
        )

    def encode(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        errors: OnError = "raise",
        memory: int | None = None,
        budget: int | None = None,
        executor: Executor | None = None,
    ) -> Float[np.ndarray, "networks dim"]:
        """Encodes networks as vectors: the embeddings of the experts side by side.

        Where no expert that takes part has an embedding (see `embeds_description`), the vector is the description of
        the network that the experts read.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            errors: As for `predict`; without "raise" there are rows for readable sources only.
            memory: As for `predict`.
            budget: As for `predict`.
            executor: As for `predict`.

        Returns:
            float32 [networks, dim], rows in the order given.
        """
        found = self.predict_blocks(
            sources, batch_size=batch_size, errors=errors, memory=memory, budget=budget, executor=executor
        )
        return np.concatenate([np.zeros((0, self.dim), dtype=np.float32), *(block.embedding for block in found)])

    def save(self, folder: str | Path) -> None:
        """Writes config.json, model.safetensors, metrics.json and split.json; nothing is pickled. Inverse: `load`.

        A crash while writing leaves the old predictor, a folder that `load` refuses, or the new predictor.
        """
        config, tensors = self._contents()
        PredictorFiles(config, tensors, self.metrics, self.split).write(Path(folder))

    def digest(self) -> str:
        """Computes a digest of all that decides its predictions and embeddings, and of how it was trained."""
        config, tensors = self._contents()
        found = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for name in sorted(tensors):
            values = tensors[name].detach().cpu().contiguous()
            found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            found.update(values.flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def _contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns what config.json and model.safetensors hold."""
        return contents_of(
            self.encoder,
            self.properties,
            self.experts,
            self.weights,
            intervals=self.intervals,
            intervals_outside=self.intervals_outside,
            domain=self.domain,
            record=self.record,
        )

    @classmethod
    def load(cls, folder: str | Path, *, encoders: Mapping[str, type[NetworkEncoder]] | None = None) -> "Predictor":
        """Reads a predictor folder. Inverse: `save`.

        Args:
            folder: Folder that `save` or `sne train --out` wrote.
            encoders: Encoder classes by name, in addition to those of `sne.encoders.ENCODERS`.

        Returns:
            The predictor, on the CPU.

        Raises:
            PredictorError: A file is missing or damaged, an encoder or expert is unknown, or the format is newer.
        """
        folder = Path(folder)
        files = PredictorFiles.read(folder)
        known = {**ENCODERS, **(encoders or {})}
        try:
            return cls(**build_parts(files, known))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
            reason = str(error) if isinstance(error, PredictorError) else f"damaged, {type(error).__name__}: {error}"
            line = " ".join(reason.split())[:_MOST_REASON]
            raise PredictorError(f"{folder}: {CONFIG} and {MODEL} make no predictor: {line}") from None

    def _predict_block(
        self,
        block: list[Network],
        errors: OnError,
        limits: Limits,
        tell: Callable[[str, list[str]], None] | None,
    ) -> Iterator[PredictedBlock]:
        """Lets the experts predict networks; bad ones are taken out."""
        is_sampled = any(self._sum.is_sampled(network, limits) for network in block)
        if is_sampled and len(block) > 1:
            for network in block:
                yield from self._predict_block([network], errors, limits, tell)
            return

        def compute(some: list[Network]) -> tuple[Computed, Sample | None]:
            found, sample = (
                self._sum.compute_sample(some[0], limits) if is_sampled else (self._sum.compute(some, limits), None)
            )
            if (bad := (~found.values.isfinite().all(1)).nonzero()).numel():
                name = some[int(bad[0])].name
                raise PredictorError(f"{name}: the prediction is not finite; are the weights sound?")
            return found, sample

        for good, (found, sample) in without_bad(block, compute, errors):
            if sample is not None:
                report_doubts(tell, good[0].name, [sample.describe(self.properties)])
            names = tuple(network.name for network in good)
            arrays = found.values.numpy(), found.logits.numpy(), found.embedding.numpy()
            low, high = self._ends(found)
            p_values = None if found.p_values is None else found.p_values.numpy()
            yield PredictedBlock(names, *arrays, low, high, self._count_as_stored(good), sample, p_values)

    def _count_as_stored(self, block: list[Network]) -> int:
        if not self.is_canonical:
            return 0
        from sne.symmetry import canonicalize  # many modules, which other predictors do not need

        return sum(canonicalize(network) is network for network in block)

    def _ends(self, found: Computed) -> Float[np.ndarray, "2 networks properties"]:
        """Computes the ends of the intervals; nan where there are none."""
        ends = np.full((2, len(found.values), len(self.properties)), np.nan)
        is_outside = np.zeros(len(found.values), dtype=bool)
        if found.p_values is not None:
            is_outside = (found.p_values < LEAST_P).numpy()
        for n, (prop, where) in enumerate(zip(self.properties, output_slices(self.properties), strict=True)):
            if prop.kind == "class":
                continue
            ranges = Ranges(*(part[:, where.start].numpy() for part in (found.values, found.low, found.high)))
            everything = Interval(0.0, 0.0, 1.0) if prop.kind == "fraction" else None
            outside = self.intervals_outside.get(prop.name, everything)
            if (inside := self.intervals.get(prop.name)) is not None:
                ends[:, :, n] = inside.ends(prop, ranges)
            if outside is None:
                ends[:, is_outside, n] = np.nan
            elif is_outside.any():
                low, high = outside.ends(prop, ranges.take(is_outside))
                own = ends[:, is_outside, n]
                ends[:, is_outside, n] = np.fmin(low, own[0]), np.fmax(high, own[1])
        return ends

    def _prediction(
        self,
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
