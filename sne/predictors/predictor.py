"""The predictor: weighted experts that predict properties of networks, with intervals."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import ENCODERS, Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.health import describe_head
from sne.predictors.block_prediction import predict_block, predictions_of
from sne.predictors.domain import Domain
from sne.predictors.expert_sum import ExpertSum, weights_by_kind
from sne.predictors.experts import Expert
from sne.predictors.folder import PredictorFiles
from sne.predictors.hub import push_predictor
from sne.predictors.intervals import Interval
from sne.predictors.prediction import PredictedArrays, PredictedBlock, Prediction
from sne.predictors.pretrained import DEFAULT, pretrained_folder
from sne.predictors.properties import Property
from sne.predictors.saved import build_parts, damage_in_one_line, files_of, halved
from sne.predictors.sources import OnError, Source, blocks, expand_sources, read_sources
from sne.predictors.spreading import spread
from sne.work import Executor
from sne.zoo import Split


class Predictor:
    """Predicts properties of networks from their weights, as a weighted mean of experts.

    Args:
        encoder: Reads networks for the experts (`prepare` and `summarize`); its learned parameters are not used.
        properties: The properties to predict.
        experts: Experts that predict them.
        weights: Weight of each expert for each property; not negative, and of sum 1 for each property.
        weights_outside: The same for networks outside the known domain; None for the same weights.
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
        weights_outside: Float[np.ndarray, "experts properties"] | None = None,
        intervals: Mapping[str, Interval | None] | None = None,
        intervals_outside: Mapping[str, Interval | None] | None = None,
        domain: Domain | None = None,
        split: Split | None = None,
        record: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ):
        weights_outside = weights if weights_outside is None else weights_outside
        self._sum = ExpertSum(encoder, properties, experts, weights, weights_outside, domain)
        self.encoder = encoder
        self.properties = tuple(properties)
        self.experts = tuple(experts)
        self.weights = weights
        self.weights_outside = weights_outside
        self.intervals = {name: found for name, found in (intervals or {}).items() if found is not None}
        self.intervals_outside = {name: found for name, found in (intervals_outside or {}).items() if found is not None}
        self.domain = domain
        self.split = split
        self.record = dict(record or {})
        self.metrics = dict(metrics or {})

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
        return weights_by_kind(self.experts, self.properties, self.weights)

    def find_property(self, name: str) -> Property:
        """Returns the property of that name; "config." may be left out, as in the tables of `sne predict`.

        Raises:
            PredictorError: It predicts no such property.
        """
        by_name = {prop.name: prop for prop in self.properties}
        for known in (name, f"config.{name}"):
            if known in by_name:
                return by_name[known]
        raise PredictorError(f"the predictor predicts {', '.join(p.name for p in self.properties)}, not {name!r}")

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

        Logs a warning for each source that was read in part or in doubt, and, without a budget, for each whose last
        layer looks untrained (`sne.health.describe_head`). Networks that were read before have the second one alone.

        Args:
            sources: One source or several: whatever `sne.read_network` takes, globs, folders of checkpoints, or
                networks that were read before.
            batch_size: Number of networks per forward pass; it changes speed and memory only.
            errors: What to do with a source that cannot be read or predicted. "raise" stops at the first one, also
                within a folder. "skip" logs a warning for each and continues, as the command does. A function is called
                with the name of the source and the error.
            memory: Largest resident size of the process, in bytes; None for the encoder's own bound. Larger networks
                are read piece by piece.
            budget: Largest number of weights that are read of a network; None for all. A network with more weights is
                represented by a sample, always the same one. NaN in weights that are not read goes unnoticed.
            executor: Workers that read files and predict, such as `sne.work.ProcessPool(8)`, with one thread each;
                sources are then paths only. None to read in this process.

        Returns:
            One prediction per source and property, sources in the order given.

        Raises:
            sne.CheckpointError: A source cannot be read whole.
            PredictorError: A prediction is not finite.

        Example:
            >>> module = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
            >>> [found.property for found in Predictor.from_pretrained().predict(module)][:2]
            ['test_accuracy', 'generalization_gap']
        """
        found = self.predict_blocks(
            sources, batch_size=batch_size, errors=errors, memory=memory, budget=budget, executor=executor,
            looks_at_head=True,
        )  # fmt: skip
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
        looks_at_head: bool = False,
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
            looks_at_head: Whether to tell that the last layer of a network looks untrained
                (`sne.health.describe_head`), for which it is read once more; not under a budget.
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
                self.predict_blocks, batch_size=batch_size, memory=memory, budget=budget,
                select=select, allow_nonfinite=allow_nonfinite, looks_at_head=looks_at_head,
            )  # fmt: skip
            yield from spread(
                work, expand_sources(sources), executor,
                part_size=batch_size, errors=errors, tell=tell, is_ordered=is_ordered,
            )  # fmt: skip
            return
        if memory is not None:
            limits.spare_memory()  # refuses a limit that this process exceeds already
        look = describe_head if looks_at_head and budget is None else None
        networks = read_sources(
            sources, errors=errors, select=select, allow_nonfinite=allow_nonfinite, tell=tell, look=look
        )
        for block in blocks(networks, batch_size):
            yield from predict_block(
                self._sum, block, self.intervals, self.intervals_outside, errors=errors, limits=limits, tell=tell
            )

    def predictions(self, block: PredictedBlock) -> list[Prediction]:
        """Returns one prediction per network of a block and property."""
        return predictions_of(block, self.properties)

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
        found = self.predict_blocks(sources, batch_size=batch_size, memory=memory, budget=budget, executor=executor)
        with_logits = sum(bool(expert.embedding_dim) for expert in self.experts)
        return PredictedArrays.of(list(found), self.properties, with_logits)

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

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Writes config.json, model.safetensors, metrics.json and split.json; nothing is pickled. Inverse: `load`.

        A crash while writing leaves the old predictor, a folder that `load` refuses, or the new predictor.

        Args:
            folder: Folder of the predictor.
            half: Whether large tensors are written in half precision. The folder is about half as large, and
                predictions change by about a thousandth.
        """
        files = self._files()
        (halved(files) if half else files).write(Path(folder))

    def push_to_hub(
        self,
        repository: str,
        *,
        half: bool = False,
        private: bool | None = None,
        revision: str | None = None,
        message: str = "Upload predictor of sne",
    ) -> str:
        """Writes the predictor into a repository of the Hugging Face Hub. Inverse: `from_pretrained`.

        The repository is created if it is not there. It gets a model card with the figures of the training run, unless
        it has one. Needs the extra `hub` and a token (`hf auth login`).

        Args:
            repository: Name of the repository, `org/name`.
            half: As for `save`.
            private: Whether a new repository is private; None for the owner's default.
            revision: Branch that the commit goes to; None for the default branch.
            message: Message of the commit.

        Returns:
            Address of the commit.

        Raises:
            PredictorError: The Hub refuses it or cannot be reached.
        """
        files = halved(self._files()) if half else self._files()
        return push_predictor(files, repository, private=private, revision=revision, message=message)

    def digest(self) -> str:
        """Computes a digest of all that decides its predictions and embeddings, and of how it was trained."""
        return self._files().digest()

    def _files(self) -> PredictorFiles:
        """Returns what its folder holds."""
        return files_of(
            self.encoder, self.properties, self.experts, self.weights, self.weights_outside,
            intervals=self.intervals, intervals_outside=self.intervals_outside, domain=self.domain,
            split=self.split, record=self.record, metrics=self.metrics,
        )  # fmt: skip

    @classmethod
    def from_pretrained(cls, name: str | Path = DEFAULT) -> "Predictor":
        """Loads a predictor that is part of this package, one of the user's, or one from the Hugging Face Hub.

        Args:
            name: Name of a packaged predictor, a folder as for `load`, or `hf://org/name[@revision]` for the Hub, which
                needs the extra `hub`. The default knows small image classifiers; its model card is
                sne/pretrained/default/README.md.

        Returns:
            The predictor, on the CPU.

        Raises:
            PredictorError: There is no such predictor, or its files are damaged.

        Example:
            >>> Predictor.from_pretrained().properties[0].name
            'test_accuracy'
        """
        return cls.load(pretrained_folder(name))

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
        files = PredictorFiles.read(Path(folder))
        with damage_in_one_line(Path(folder)):
            return cls(**build_parts(files, {**ENCODERS, **(encoders or {})}))
