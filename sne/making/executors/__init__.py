"""Who trains the networks of a zoo: processes of this machine, or a Ray cluster."""

from sne.making.executors.executor import Executor as Executor
from sne.making.executors.processes import ProcessPool as ProcessPool
from sne.making.executors.ray_cluster import RayCluster as RayCluster
from sne.making.executors.work import Job as Job
from sne.making.executors.work import Trainer as Trainer
from sne.making.executors.work import WorkUnit as WorkUnit
from sne.making.executors.work import train_each as train_each
