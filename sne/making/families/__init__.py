"""Families of architectures that zoos are made of, one file per family."""

from sne.making.families.family import Family as Family
from sne.making.families.family import ImageShape as ImageShape
from sne.making.families.known import FAMILIES as FAMILIES
from sne.making.families.known import find_families as find_families
