"""The published experiments, each one command: zoos, tasks, methods and seeds as data, and the code that runs them."""

from sne.errors import StudyError as StudyError
from sne.lab.studies.declared import STUDIES as STUDIES
from sne.lab.studies.methods import METHODS as METHODS
from sne.lab.studies.methods import Method as Method
from sne.lab.studies.methods import choose_methods as choose_methods
from sne.lab.studies.reporting import to_results as to_results
from sne.lab.studies.reporting import write_report as write_report
from sne.lab.studies.requirements import check_extras as check_extras
from sne.lab.studies.requirements import without_unavailable as without_unavailable
from sne.lab.studies.runner import Finished as Finished
from sne.lab.studies.runner import run_study as run_study
from sne.lab.studies.study import SCALES as SCALES
from sne.lab.studies.study import Design as Design
from sne.lab.studies.study import HeldOut as HeldOut
from sne.lab.studies.study import Study as Study
from sne.lab.studies.study import StudyTask as StudyTask
from sne.lab.studies.study import ZooNeed as ZooNeed
