"""The neural expert: an encoder, and heads that read its embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from sne.encoders import NetworkEncoder
from sne.encoders.chunking import KindTable
from sne.errors import PredictorError, TrainingError
from sne.predictors.experts.contract import Examples, Expert, FitContext, Fold, Outputs, Prepared, check_names
from sne.predictors.experts.heads import PropertyHeads
from sne.predictors.experts.loop import EncoderWithHeads, train_epochs
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.state import TrainingState, derive_seed, own_randomness
from sne.predictors.folder import check_settings
from sne.predictors.properties import Property

Built = TypeVar("Built", bound=nn.Module)


@final
class NeuralExpert(Expert):
    """A network encoder with one head per property.

    Args:
        model: The encoder and its heads.
        make: Draws a fresh model for `fit`; None for an expert that is not to be trained.
        settings: How it is trained; None likewise.
    """

    reads_description: ClassVar[bool] = False

    def __init__(
        self,
        model: EncoderWithHeads,
        make: Callable[[], EncoderWithHeads] | None = None,
        settings: TrainingSettings | None = None,
    ):
        self.model = model.eval()
        self.embedding_dim = model.encoder.dim
        self._make = make
        self._training = settings
        self._trained: TrainingState | None = None

    @classmethod
    def create(
        cls, encoder: Callable[[], NetworkEncoder], properties: Sequence[Property], settings: TrainingSettings
    ) -> "NeuralExpert":
        """Makes an expert whose parameters are drawn when it is fitted."""

        def make() -> EncoderWithHeads:
            fresh = encoder()
            heads = PropertyHeads(
                fresh.dim,
                properties,
                hidden=settings.hidden,
                dropout=settings.dropout,
                rank_weight=settings.rank_weight,
            )
            return EncoderWithHeads(fresh, heads)

        return cls(without_memory(make), make, settings)  # `fit` draws the parameters

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Trains the model; the held-out networks choose the epoch whose parameters are kept."""
        if self._make is None or self._training is None:
            raise TrainingError(f"{context.name}: this expert was loaded from a file and cannot be trained again")
        state = context.group.from_first(lambda: context.store.load(context.name) if context.resume else None)
        with own_randomness(derive_seed(*context.seed, "initial values"), context.device):
            self.model = self._make()
        examples = replace(examples, prepared=Prepared(examples.prepared.items))  # without descriptions to carry
        learned = examples.take(fold.train)
        try:
            scaled = examples if self.model.encoder.shares_scale else learned  # labels do not matter
            self.model.encoder.fit_scale(scaled.prepared.items)
        except ValueError as error:
            raise TrainingError(f"the encoder cannot fit its input scale to the training networks: {error}") from None
        self._trained = train_epochs(
            self.model.to(context.device),
            learned,
            examples.take(fold.held_out),
            self._training,
            context=context,
            state=state,
        )
        self.model = self.model.cpu().eval()
        self.seconds = self._trained.seconds

    @torch.inference_mode()
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts with dropout off."""
        model = self.model.eval() if self.model.training else self.model  # eval() visits every module
        return model.outputs(model.encoder(model.encoder.collate(prepared.items).to(model.device)).float())

    def state(self) -> dict[str, Tensor]:
        """Returns the parameters and buffers of the model."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    def settings(self) -> dict[str, Any]:
        """Returns the settings of the heads."""
        return self.model.heads.settings()

    @classmethod
    def from_state(
        cls,
        encoder: Callable[[], NetworkEncoder],
        properties: Sequence[Property],
        settings: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "NeuralExpert":
        """Builds the model without memory, compares its shapes with the tensors, and adopts them."""

        def make() -> EncoderWithHeads:
            fresh = encoder()
            return EncoderWithHeads(fresh, PropertyHeads(fresh.dim, properties, **settings))

        check_settings(PropertyHeads, settings)
        model = without_memory(make, most_parameters=len(tensors))
        expected = model.state_dict()
        check_names(tensors, expected)
        tables = {f"{name}.weight": table for name, table in model.named_modules() if isinstance(table, KindTable)}
        tensors = {name: tables[name].grow(t) if name in tables else t for name, t in tensors.items()}
        for name, tensor in tensors.items():
            if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
                came, asked = (f"{tuple(t.shape)} {t.dtype}" for t in (tensor, expected[name]))
                raise PredictorError(
                    f"{name} has shape {came}, config.json asks for {asked}: damaged, or trained by another version of "
                    "sne; use that version, or train again with sne train"
                )
        model.load_state_dict(tensors, assign=True)
        return cls(model)

    def history(self) -> dict[str, Any]:
        """Returns the kept epoch, its score, and loss and score of every epoch."""
        if self._trained is None:
            return {}
        epochs, best = self._trained.history, self._trained.best_epoch
        return {"best_epoch": best, "score": epochs[best].get("score"), "history": epochs}

    def to(self, device: torch.device) -> None:
        """Moves the model."""
        self.model.to(device)


def without_memory(make: Callable[[], Built], most_parameters: int = 100_000) -> Built:
    """Builds a module whose parameters and buffers have shapes, but no memory and no values.

    Args:
        make: Builds the module.
        most_parameters: Number of parameter tensors after which building stops, in case that the settings come from a
            damaged file and would build modules without end.

    Raises:
        PredictorError: The module has more parameter tensors.
    """
    left = most_parameters

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        left -= parameter is not None
        if left < 0:
            raise PredictorError(f"the settings ask for more than {most_parameters} tensors of parameters")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), _WithoutDraws():
            return make()
    finally:
        hook.remove()


class _WithoutDraws(TorchFunctionMode):
    """Replaces functions that fill new tensors by ones that only give the shape.

    Where there is no memory they would do nothing, but torch computes their shapes in Python, and imports its compiler
    for that, which takes longer than importing torch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch, or one that only gives the shape."""
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func in (torch.rand, torch.randn):
            return torch.empty(*args, **{name: value for name, value in kwargs.items() if name != "generator"})
        if func is torch.linspace and len(args) == 3:
            return torch.empty(args[2], **kwargs)
        return func(*args, **kwargs)
