"""Estimators of scikit-learn on networks: vectors of checkpoints, and properties learned from them."""

from sne.sklearn.encoder import NetworkEncoder as NetworkEncoder
from sne.sklearn.properties import PropertyClassifier as PropertyClassifier
from sne.sklearn.properties import PropertyRegressor as PropertyRegressor
