"""Work on many items in processes or on a Ray cluster, and files that are written whole or not at all."""

from sne.work.atomic import check_can_write as check_can_write
from sne.work.atomic import check_can_write_folder as check_can_write_folder
from sne.work.atomic import replacing as replacing
from sne.work.atomic import sync as sync
from sne.work.atomic import write_atomically as write_atomically
from sne.work.executor import Answer as Answer
from sne.work.executor import Executor as Executor
from sne.work.executor import Failure as Failure
from sne.work.executor import InThisProcess as InThisProcess
from sne.work.executor import in_order as in_order
from sne.work.processes import ProcessPool as ProcessPool
from sne.work.ray_cluster import RayCluster as RayCluster
