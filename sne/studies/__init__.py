"""The published experiments, each one command: zoos, tasks, methods and seeds as data, and what runs them."""

from sne.studies.declared import STUDIES as STUDIES
from sne.studies.errors import StudyError as StudyError
from sne.studies.methods import METHODS as METHODS
from sne.studies.methods import Method as Method
from sne.studies.methods import choose_methods as choose_methods
from sne.studies.reporting import check_can_draw as check_can_draw
from sne.studies.reporting import write_report as write_report
from sne.studies.runner import Finished as Finished
from sne.studies.runner import run_study as run_study
from sne.studies.study import SCALES as SCALES
from sne.studies.study import Design as Design
from sne.studies.study import HeldOut as HeldOut
from sne.studies.study import Study as Study
from sne.studies.study import Task as Task
from sne.studies.study import ZooNeed as ZooNeed
