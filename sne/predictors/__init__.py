"""Encoder, heads, target scales and intervals: from networks to properties, saved and loaded."""

from sne.errors import PredictorError as PredictorError
from sne.predictors.calibration import conformal_half_width as conformal_half_width
from sne.predictors.calibration import interval as interval
from sne.predictors.device import choose_device as choose_device
from sne.predictors.encoding import encode as encode
from sne.predictors.forest import Forest as Forest
from sne.predictors.heads import PropertyHeads as PropertyHeads
from sne.predictors.member import Member as Member
from sne.predictors.predictor import Prediction as Prediction
from sne.predictors.predictor import Predictor as Predictor
from sne.predictors.properties import Property as Property
from sne.predictors.scores import scores as scores
from sne.predictors.scores import selection_score as selection_score
from sne.predictors.sources import Source as Source
from sne.predictors.sources import blocks as blocks
from sne.predictors.sources import read_sources as read_sources
