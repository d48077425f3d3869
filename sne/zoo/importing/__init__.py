"""Importing zoos: a user's own checkpoints, model cards, and the published zoos."""

from sne.zoo.importing.contract import ColumnUse as ColumnUse
from sne.zoo.importing.formats import FORMATS as FORMATS
from sne.zoo.importing.formats import import_zoo as import_zoo
