"""Checkpoints become networks, lazily, and nothing in a file is ever executed.

Reading order: `read.py` is the entry, `folder.py` resolves folders and shards, `formats/` has one reader per file
format, `unwrapping.py` and `copies.py` find the network in nested content, `state_dict.py` and `module.py` read objects
in memory, `stored.py` is the contract that all readers share, `composed/` computes weights that are stored in another
form, `source.py` joins stored and composed weights, `configuration.py` reads the `config.json` beside them,
`raw_data.py` reads bytes and JSON.
"""

from sne.checkpoints.read import open_source as open_source
from sne.checkpoints.read import read_network as read_network
from sne.checkpoints.source import CheckpointSource as CheckpointSource
from sne.checkpoints.state_dict import StateDictTensors as StateDictTensors
from sne.checkpoints.stored import StoredTensors as StoredTensors
from sne.errors import CheckpointError as CheckpointError
