"""Who trains the networks of a zoo: processes of this machine, or a Ray cluster."""

from sne.zoo.executors.executor import Executor as Executor
from sne.zoo.executors.processes import ProcessPool as ProcessPool
from sne.zoo.executors.ray_cluster import RayCluster as RayCluster
from sne.zoo.executors.work import Job as Job
from sne.zoo.executors.work import Trainer as Trainer
from sne.zoo.executors.work import WorkUnit as WorkUnit
from sne.zoo.executors.work import train_each as train_each
