"""Remote checkpoints: on the Hub, in buckets and on web servers. Only the bytes that are needed are fetched.

Reading order: `address.py` takes addresses apart, `open.py` finds the store of an address, `store.py` is the contract
of stores, with `web.py`, `hub.py` and `bucket.py` behind it, `blocks.py` decides which parts are fetched together,
`downloads.py` keeps whole files, `connection.py` sends requests, and `path.py` is what readers see.
"""

from sne.checkpoints.remote.address import conceal as conceal
from sne.checkpoints.remote.address import is_remote as is_remote
from sne.checkpoints.remote.address import parse_hub_address as parse_hub_address
from sne.checkpoints.remote.open import open_remote as open_remote
from sne.checkpoints.remote.open import version_of as version_of
from sne.checkpoints.remote.path import FilePath as FilePath
from sne.checkpoints.remote.path import RemotePath as RemotePath
