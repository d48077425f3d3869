"""Model zoos on disk: trained networks with measured properties.

Names are imported when they are first used, because importing and exporting zoos need many modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sne.errors import ZooError as ZooError
    from sne.zoo.exporting import export_folder as export_folder
    from sne.zoo.importing import FORMATS as FORMATS
    from sne.zoo.importing import ColumnUse as ColumnUse
    from sne.zoo.importing import import_zoo as import_zoo
    from sne.zoo.store.layout import Layout as Layout
    from sne.zoo.store.merging import append as append
    from sne.zoo.store.merging import merge as merge
    from sne.zoo.store.split import Split as Split
    from sne.zoo.store.splitting import has_twin as has_twin
    from sne.zoo.store.splitting import split_by_run as split_by_run
    from sne.zoo.store.summary import summarise as summarise
    from sne.zoo.store.verifying import VerifyReport as VerifyReport
    from sne.zoo.store.verifying import verify as verify
    from sne.zoo.store.writing import ZooWriter as ZooWriter
    from sne.zoo.store.zoo import Zoo as Zoo

_MODULE_OF = {
    "ColumnUse": "sne.zoo.importing",
    "FORMATS": "sne.zoo.importing",
    "Layout": "sne.zoo.store.layout",
    "Split": "sne.zoo.store.split",
    "VerifyReport": "sne.zoo.store.verifying",
    "Zoo": "sne.zoo.store.zoo",
    "ZooError": "sne.errors",
    "ZooWriter": "sne.zoo.store.writing",
    "append": "sne.zoo.store.merging",
    "export_folder": "sne.zoo.exporting",
    "has_twin": "sne.zoo.store.splitting",
    "import_zoo": "sne.zoo.importing",
    "merge": "sne.zoo.store.merging",
    "split_by_run": "sne.zoo.store.splitting",
    "summarise": "sne.zoo.store.summary",
    "verify": "sne.zoo.store.verifying",
}
__all__ = [*sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'sne.zoo' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
