"""Files of other people become networks, lazily, executing nothing."""

from sne.checkpoints.read import open_source as open_source
from sne.checkpoints.read import read_network as read_network
from sne.checkpoints.source import CheckpointSource as CheckpointSource
from sne.checkpoints.source import StateDictSource as StateDictSource
from sne.errors import CheckpointError as CheckpointError
