"""Predictors: properties, experts that predict them, intervals; saved and loaded."""

from sne.errors import PredictorError as PredictorError
from sne.predictors.embedding_file import EmbeddingFile as EmbeddingFile
from sne.predictors.embedding_file import encode_to_file as encode_to_file
from sne.predictors.embedding_file import parts_folder as parts_folder
from sne.predictors.encoding import choose_device as choose_device
from sne.predictors.encoding import encode as encode
from sne.predictors.experts import EXPERTS as EXPERTS
from sne.predictors.experts import Expert as Expert
from sne.predictors.experts import TrainingSettings as TrainingSettings
from sne.predictors.figures import decide as decide
from sne.predictors.figures import scores as scores
from sne.predictors.figures import selection_score as selection_score
from sne.predictors.intervals import Interval as Interval
from sne.predictors.intervals import Ranges as Ranges
from sne.predictors.intervals import calibrate as calibrate
from sne.predictors.prediction import PredictedBlock as PredictedBlock
from sne.predictors.prediction import Prediction as Prediction
from sne.predictors.prediction import Sample as Sample
from sne.predictors.predictor import Predictor as Predictor
from sne.predictors.properties import Property as Property
from sne.predictors.sources import OnError as OnError
from sne.predictors.sources import Source as Source
from sne.predictors.sources import blocks as blocks
from sne.predictors.sources import expand_sources as expand_sources
from sne.predictors.sources import read_sources as read_sources
from sne.predictors.spreading import choose_executor as choose_executor
