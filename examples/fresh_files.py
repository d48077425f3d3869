"""Writes fresh checkpoints to a folder, as anyone's training script would: `python examples/fresh_files.py FOLDER`.

Two networks learn scikit-learn's digits and are saved on the way. Two other files hold networks that are no image
classifiers. Prints the measured test accuracy of the classifiers. They compute in float64 and are stored in float32, so
that the files differ little between machines.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

STEPS = (10, 60, 600)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the images, enlarged to 16 x 16 pixels and standardised, and their classes."""
    rows, classes = load_digits(return_X_y=True)
    images = torch.tensor(rows, dtype=torch.float64).view(-1, 1, 8, 8) / 16
    images = nn.functional.interpolate(images, size=16, mode="bilinear")
    return (images - images.mean()) / images.std(), torch.tensor(classes)


def networks() -> dict[str, nn.Module]:
    """Returns the classifiers before training."""
    return {
        "cnn": nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        ),
        "mlp": nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)),
    }  # fmt: skip


def train(folder: Path, name: str, network: nn.Module) -> None:
    """Trains a classifier with Adam and saves it after some steps."""
    images, classes = digits()
    order = torch.randperm(len(images))
    held_out, rest = order[:400], order[400:]
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(1, max(STEPS) + 1):
        batch = rest[torch.randint(len(rest), (64,))]
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), classes[batch]).backward()
        optimizer.step()
        if step in STEPS:
            with torch.inference_mode():
                accuracy = (network(images[held_out]).argmax(1) == classes[held_out]).float().mean()
            path = folder / f"{name}-step-{step:03}.pt"
            torch.save({name: values.float() for name, values in network.state_dict().items()}, path)
            print(f"{path}  measured test accuracy {accuracy:.3f}")


def main() -> None:
    """Writes all files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, network in networks().items():
        train(folder, name, network.double())
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    language = nn.ModuleDict({"embedding": nn.Embedding(500, 64), "layers": nn.TransformerEncoder(layer, 2)})
    agent = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    for name, network in {"language-model": language, "agent": agent}.items():
        torch.save(network.state_dict(), folder / f"{name}.pt")
        print(f"{folder / name}.pt  no image classifier")


if __name__ == "__main__":
    main()
