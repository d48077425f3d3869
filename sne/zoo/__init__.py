"""Model zoos on disk: trained networks with measured properties."""

from sne.errors import ZooError as ZooError
from sne.zoo.exporting import export_folder as export_folder
from sne.zoo.importing import FORMATS as FORMATS
from sne.zoo.importing import ColumnUse as ColumnUse
from sne.zoo.importing import import_zoo as import_zoo
from sne.zoo.store.layout import Layout as Layout
from sne.zoo.store.merging import append as append
from sne.zoo.store.merging import merge as merge
from sne.zoo.store.splitting import Split as Split
from sne.zoo.store.splitting import has_twin as has_twin
from sne.zoo.store.splitting import split_by_run as split_by_run
from sne.zoo.store.summary import summarise as summarise
from sne.zoo.store.verifying import VerifyReport as VerifyReport
from sne.zoo.store.verifying import verify as verify
from sne.zoo.store.writing import ZooWriter as ZooWriter
from sne.zoo.store.zoo import Zoo as Zoo
