"""Zoos from what people already have."""

from sne.zoo.importing.formats import FORMATS as FORMATS
from sne.zoo.importing.formats import import_folder as import_folder
from sne.zoo.importing.formats import import_hugging_face as import_hugging_face
from sne.zoo.importing.formats import import_schuerholt as import_schuerholt
from sne.zoo.importing.formats import import_sine_inr as import_sine_inr
from sne.zoo.importing.formats import import_small_cnn_zoo as import_small_cnn_zoo
from sne.zoo.importing.formats import import_small_transformer_zoo as import_small_transformer_zoo
from sne.zoo.importing.formats import import_zoo as import_zoo
