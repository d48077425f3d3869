"""Zoos from what people already have."""

from sne.zoo.importing.folder import import_folder as import_folder
from sne.zoo.importing.formats import FORMATS as FORMATS
from sne.zoo.importing.formats import import_zoo as import_zoo
from sne.zoo.importing.small_cnn_zoo import import_small_cnn_zoo as import_small_cnn_zoo
