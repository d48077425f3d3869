"""Training networks of one shape together, each with its own data order, dropout and learning rate."""

from sne.making.stacked.training import group_runs as group_runs
from sne.making.stacked.training import train_stack as train_stack
