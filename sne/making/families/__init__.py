"""Families of architectures that zoos are made of. A new family is one file and one line of `FAMILIES`."""

from collections.abc import Mapping

from sne.making.families.cnn_s import CNN_S
from sne.making.families.family import Family as Family
from sne.making.families.family import ImageShape as ImageShape
from sne.making.families.gpt import GPT
from sne.making.families.gru import GRU
from sne.making.families.image_inr import IMAGE_INR
from sne.making.families.lenet import LENET, MNIST_CNN
from sne.making.families.mlp import MLP_FAMILY
from sne.making.families.residual_cnn import RESIDUAL_CNN
from sne.making.families.resnet import RESNET
from sne.making.families.sine_inr import SINE_INR
from sne.making.families.small_cnn import SMALL_CNN
from sne.making.families.vgg import VGG_FAMILY
from sne.making.families.vit import VIT, VIT_PLAIN
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
    "lenet": LENET,
    "mnist_cnn": MNIST_CNN,
    "vgg": VGG_FAMILY,
    "resnet": RESNET,
    "gpt": GPT,
    "sine_inr": SINE_INR,
    "image_inr": IMAGE_INR,
}
