"""Who trains the networks of a zoo: processes of this machine, or a Ray cluster."""

from sne.zoo.making.executors.executor import Executor as Executor
from sne.zoo.making.executors.processes import ProcessPool as ProcessPool
from sne.zoo.making.executors.ray_cluster import RayCluster as RayCluster
from sne.zoo.making.executors.work import Job as Job
from sne.zoo.making.executors.work import Trainer as Trainer
from sne.zoo.making.executors.work import WorkUnit as WorkUnit
from sne.zoo.making.executors.work import train_each as train_each
