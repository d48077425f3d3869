"""Networks after they have been read: layers, parts, types and order. Knows no file and no encoder."""

from sne.networks.blocks import Block as Block
from sne.networks.claims import find_excess as find_excess
from sne.networks.network import Heads as Heads
from sne.networks.network import Hint as Hint
from sne.networks.network import Layer as Layer
from sne.networks.network import LayerType as LayerType
from sne.networks.network import Network as Network
from sne.networks.network import Note as Note
from sne.networks.part import Part as Part
from sne.networks.part import RangeSource as RangeSource
from sne.networks.part import Role as Role
from sne.networks.part import TensorInfo as TensorInfo
from sne.networks.part import TensorSource as TensorSource
from sne.networks.recognition import build_network as build_network
from sne.networks.recognition import recognise as recognise
from sne.networks.remembered import Remembered as Remembered
from sne.networks.stacks import read_stack as read_stack
from sne.networks.summary import summarise as summarise
