"""What a network of a zoo learns, and how it is measured."""

from sne.making.tasks.classification import Classification as Classification
from sne.making.tasks.signal_fit import SignalFit as SignalFit
from sne.making.tasks.task import Task as Task
