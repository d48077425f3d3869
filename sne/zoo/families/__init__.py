"""Families of architectures that zoos are made of; one file each."""

from sne.zoo.families.family import Family as Family
from sne.zoo.families.family import ImageShape as ImageShape
from sne.zoo.families.known import FAMILIES as FAMILIES
from sne.zoo.families.known import find_families as find_families
