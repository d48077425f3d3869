"""Training networks of one shape together, each with its own data order, dropout and learning rate."""

from sne.making.stacked.grouping import group_units as group_units
from sne.making.stacked.training import train_stack as train_stack
