"""The known families. A new family is one file and one line here."""

from collections.abc import Mapping, Sequence

from sne.errors import ZooError
from sne.making.families.cnn_s import CNN_S
from sne.making.families.family import Family
from sne.making.families.gru import GRU
from sne.making.families.image_inr import IMAGE_INR
from sne.making.families.mlp import MLP_FAMILY
from sne.making.families.residual_cnn import RESIDUAL_CNN
from sne.making.families.sine_inr import SINE_INR
from sne.making.families.small_cnn import SMALL_CNN
from sne.making.families.vit import VIT
from sne.making.families.vit_plain import VIT_PLAIN
from sne.making.families.wild_cnn import WILD_CNN

FAMILIES: Mapping[str, Family] = {
    "small_cnn": SMALL_CNN,
    "cnn_s": CNN_S,
    "mlp": MLP_FAMILY,
    "gru": GRU,
    "residual_cnn": RESIDUAL_CNN,
    "vit": VIT,
    "vit_plain": VIT_PLAIN,
    "wild_cnn": WILD_CNN,
    "sine_inr": SINE_INR,
    "image_inr": IMAGE_INR,
}


def find_families(names: Sequence[str]) -> list[Family]:
    """Returns the families of some names.

    Raises:
        ZooError: A name is not known or occurs twice; the message lists the known names.
    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        came = f"family {unknown[0]!r} is not known" if unknown else "no family was given"
        raise ZooError(f"{came}; known families are {', '.join(FAMILIES)}")
    if len(set(names)) < len(names):
        raise ZooError(f"a family occurs twice in {', '.join(names)}")
    return [FAMILIES[name] for name in names]
