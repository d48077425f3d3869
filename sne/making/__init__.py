"""Making zoos: families of networks, image sets, recipes, and the training runs that fill a zoo."""

from sne.making.families import FAMILIES as FAMILIES
from sne.making.images import ImageSet as ImageSet
from sne.making.images import load_images as load_images
from sne.making.make import make as make
from sne.making.recipe import Recipe as Recipe
from sne.making.recipe_file import read_recipe as read_recipe
from sne.making.settings import Settings as Settings
