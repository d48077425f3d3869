"""Trains a tiny predictor slowly enough to be killed. Arguments: ZOO OUT anew|resume SECONDS_A_FORWARD."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tiny import TinyEncoder

from sne.training import TrainingSettings, fit
from sne.zoo import Zoo


class SlowEncoder(TinyEncoder):
    pause = 0.0

    def forward(self, batch):
        time.sleep(self.pause)
        return super().forward(batch)


SETTINGS = TrainingSettings(
    epochs=12, batch_size=8, folds=2, dropout=0.2, learning_rate=1e-2, accumulation=2,
    checkpoint_seconds=0.0, invariance=0.1, invariance_kinds=("permutation", "scaling"), invariance_draws=2,
)  # fmt: skip


def train(zoo_path, out, resume=False, pause=0.0):
    SlowEncoder.pause = pause
    zoo = Zoo.open(zoo_path)
    return fit(
        zoo, ["test_accuracy", "test_loss"], split=zoo.split, encoder=lambda: SlowEncoder(dropout=0.1),
        settings=SETTINGS, device="cpu", out=out, resume=resume,
    )  # fmt: skip


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume", float(sys.argv[4]))
