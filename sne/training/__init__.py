"""Training predictors on zoos, and measuring them."""

from sne.errors import TrainingError as TrainingError
from sne.predictors import TrainingSettings as TrainingSettings
from sne.predictors.experts.process_group import is_first_process as is_first_process
from sne.training.copies import Copies as Copies
from sne.training.evaluation import Evaluation as Evaluation
from sne.training.evaluation import PropertyEvaluation as PropertyEvaluation
from sne.training.evaluation import evaluate as evaluate
from sne.training.evaluation import evaluate_rows as evaluate_rows
from sne.training.fit import fit as fit
from sne.training.invariance_error import InvarianceError as InvarianceError
from sne.training.plan import PRESET_SETTINGS as PRESET_SETTINGS
from sne.training.plan import preset_settings as preset_settings
from sne.training.plan import target_column as target_column
from sne.training.record import is_finished as is_finished
from sne.training.record import is_training_zoo as is_training_zoo
