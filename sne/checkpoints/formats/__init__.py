"""Checkpoint formats: how a file is recognised by its content, and one reader per format."""

from sne.checkpoints.formats.contents import FileStart as FileStart
from sne.checkpoints.formats.contents import Format as Format
from sne.checkpoints.formats.known import FORMATS as FORMATS
from sne.checkpoints.formats.known import open_file as open_file
