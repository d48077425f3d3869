"""Training predictors on zoos, and measuring them."""

from sne.errors import TrainingError as TrainingError
from sne.training.copies import Copies as Copies
from sne.training.evaluation import Evaluation as Evaluation
from sne.training.evaluation import count_twins as count_twins
from sne.training.evaluation import evaluate as evaluate
from sne.training.evaluation import rows_to_evaluate as rows_to_evaluate
from sne.training.fit import fit as fit
from sne.training.fit import is_finished as is_finished
from sne.training.invariance_error import InvarianceError as InvarianceError
from sne.training.presets import PRESET_SETTINGS as PRESET_SETTINGS
from sne.training.presets import preset_settings as preset_settings
from sne.training.record import check_same_training as check_same_training
from sne.training.record import is_training_zoo as is_training_zoo
from sne.training.settings import TrainingSettings as TrainingSettings
