"""Start-up of the commands, and memory over many predictions."""

import itertools

from speed_lines.line import Line, Reading, Setting
from speed_lines.material import default_predictor, load_predictor, small_checkpoints
from speed_lines.timing import PYTHON, SNE, resident, run_alternately

IMPORT_TORCH = (*PYTHON, "import torch")
PREDICTIONS = 1000


def start(setting: Setting) -> list[Reading]:
    """Measures imports, help, and the prediction of 100 small checkpoints."""
    folder, predictor = small_checkpoints(setting.work, 100), default_predictor(setting.work)
    commands = {
        "torch": IMPORT_TORCH,
        "sne and torch": (*PYTHON, "import torch, sne"),
        "sne": (*PYTHON, "import sne"),
        "help": (*SNE, "--help"),
        "predict": (*SNE, "predict", str(folder), "--predictor", str(predictor)),
    }
    times = run_alternately(commands, threads=setting.threads, repeats=5, seconds=60)
    torch, repeats = times["torch"], times["torch"].repeats
    beyond = times["sne and torch"].wall - torch.wall
    return [
        Reading(
            "`import sne` beyond `import torch`", "0.3 seconds", beyond, 0.3, 1,
            cpu_ratio=(times["sne and torch"].cpu - torch.cpu) / 0.3, threads=setting.threads, repeats=repeats,
            notes=[f"`import sne` alone, which imports no torch: {times['sne'].wall:.2f} s, the interpreter included"],
        ),
        Reading(
            "`sne --help`", "0.5 seconds", times["help"].wall, 0.5, 1,
            cpu_ratio=times["help"].cpu / 0.5, threads=setting.threads, repeats=repeats,
        ),
        Reading(
            "`sne predict` of 100 small checkpoints, imports included",
            "`import torch` alone",
            times["predict"].wall,
            torch.wall,
            1.5,
            cpu_ratio=times["predict"].cpu / torch.cpu,
            threads=setting.threads,
            repeats=repeats,
            peak=times["predict"].peak,
        ),
    ]  # fmt: skip


def memory(setting: Setting) -> list[Reading]:
    """Measures the growth of the resident size over predictions of one process."""
    files = sorted(small_checkpoints(setting.work, 100).iterdir())
    predictor = load_predictor(setting.work)
    numbers = itertools.cycle(files)
    for _ in range(100):
        predictor.predict(next(numbers))
    before = resident()
    for _ in range(PREDICTIONS):
        predictor.predict(next(numbers))
    after = resident()
    return [
        Reading(
            f"resident size after {PREDICTIONS:,} more predictions in one process",
            "resident size after the first 100",
            after / 1e6,
            before / 1e6,
            1.01,
            threads=setting.threads,
            unit="MB",
        )
    ]


LINES = (Line("start", start, 180), Line("memory", memory, 300))
