"""Model zoos: trained networks with measured properties; making, storing, importing, splitting them."""

from sne.zoo.errors import ZooError as ZooError
from sne.zoo.exporting import export_folder as export_folder
from sne.zoo.families import FAMILIES as FAMILIES
from sne.zoo.images import ImageSet as ImageSet
from sne.zoo.images import load_images as load_images
from sne.zoo.importing import import_zoo as import_zoo
from sne.zoo.layout import Layout as Layout
from sne.zoo.making import make as make
from sne.zoo.merging import append as append
from sne.zoo.merging import merge as merge
from sne.zoo.recipe import Recipe as Recipe
from sne.zoo.recipe_file import read_recipe as read_recipe
from sne.zoo.settings import Settings as Settings
from sne.zoo.splitting import Split as Split
from sne.zoo.splitting import split_by_run as split_by_run
from sne.zoo.store import Zoo as Zoo
from sne.zoo.verifying import VerifyReport as VerifyReport
from sne.zoo.verifying import verify as verify
from sne.zoo.writing import ZooWriter as ZooWriter
