"""Experts: everything that learns to predict properties, behind one contract, one kind per module."""

from sne.predictors.experts.adapted import AdaptedExpert as AdaptedExpert
from sne.predictors.experts.boosting import BoostingExpert as BoostingExpert
from sne.predictors.experts.contract import CopySource as CopySource
from sne.predictors.experts.contract import Examples as Examples
from sne.predictors.experts.contract import Expert as Expert
from sne.predictors.experts.contract import FitContext as FitContext
from sne.predictors.experts.contract import Fold as Fold
from sne.predictors.experts.contract import Outputs as Outputs
from sne.predictors.experts.contract import Prepared as Prepared
from sne.predictors.experts.contract import prepare as prepare
from sne.predictors.experts.forest import ForestExpert as ForestExpert
from sne.predictors.experts.heads import PropertyHeads as PropertyHeads
from sne.predictors.experts.kernel import KernelExpert as KernelExpert
from sne.predictors.experts.linear import LinearExpert as LinearExpert
from sne.predictors.experts.loop import EncoderWithHeads as EncoderWithHeads
from sne.predictors.experts.neural import NeuralExpert as NeuralExpert
from sne.predictors.experts.neural import without_memory as without_memory
from sne.predictors.experts.process_group import ProcessGroup as ProcessGroup
from sne.predictors.experts.settings import TrainingSettings as TrainingSettings
from sne.predictors.experts.stacked_members import MemberStack as MemberStack
from sne.predictors.experts.stacked_members import predict_together as predict_together
from sne.predictors.experts.start import Start as Start
from sne.predictors.experts.within_family import WithinFamilyExpert as WithinFamilyExpert

EXPERTS: dict[str, type[Expert]] = {
    "neural": NeuralExpert,
    "forest": ForestExpert,
    "boosting": BoostingExpert,
    "linear": LinearExpert,
    "kernel": KernelExpert,
    "adapted": AdaptedExpert,
    "within_family": WithinFamilyExpert,
}
"""Kinds of experts by the names that settings, the command line and predictor folders use."""
