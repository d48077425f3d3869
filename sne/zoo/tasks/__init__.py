"""What a network of a zoo learns, and how it is measured."""

from sne.zoo.tasks.classification import Classification as Classification
from sne.zoo.tasks.signal_fit import SignalFit as SignalFit
from sne.zoo.tasks.task import Task as Task
