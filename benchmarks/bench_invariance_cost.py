"""Measures the cost of transformed copies in a training step of the paper's encoder.

    python benchmarks/bench_invariance_cost.py --batch 32 --threads 1

The reference is a step without copies (collate, forward, backward, optimiser). It is compared with drawing one
transformation per network and applying it to the flat vector, with preparing the copies, and with a whole step with the
invariance term, in which the encoder also reads the copies. The networks are untrained; no time depends on weights.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sne.encoders import PRESETS
from sne.making import FAMILIES, load_images
from sne.predictors import Property
from sne.predictors.experts import EncoderWithHeads, PropertyHeads
from sne.predictors.experts.loop import invariance_term
from sne.symmetry import trace
from sne.training import Copies
from sne.training.copies import TrainingCopies
from sne.zoo import Zoo, ZooWriter

RESULTS = Path(__file__).parent / "results" / "invariance_cost.json"


def write_networks(path: Path, family: str, count: int) -> Zoo:
    """Writes a zoo of untrained networks of one family, with their symmetries."""
    images, rng = load_images("digits"), np.random.default_rng(0)
    with ZooWriter(path) as writer:
        for number in range(count):
            generator = torch.Generator().manual_seed(number)
            hyperparameters = FAMILIES[family].sample(rng)
            module = FAMILIES[family].build(hyperparameters, images.shape, images.num_classes, generator)
            task = FAMILIES[family].task(hyperparameters, images, generator, 10)
            symmetry = trace(module, (task.batch(torch.arange(2))[0],))
            writer.add(
                id=f"{family}{number}", run=str(number), family=family, dataset="digits", step=0,
                state=module.state_dict(), properties={}, hyperparameters={}, symmetry=symmetry,
            )  # fmt: skip
    return Zoo.open(path)


def milliseconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Returns the time of the fastest of several runs, after a warm-up run."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - started))
    return min(times[1:])


def measure(zoo: Zoo, batch: int, repeats: int, device: torch.device) -> dict[str, float]:
    rows = list(range(batch))
    torch.manual_seed(0)
    encoder = PRESETS["paper"]()
    prepared = encoder.prepare(zoo.networks(rows))
    encoder.fit_scale(prepared)
    model = EncoderWithHeads(encoder, PropertyHeads(encoder.dim, [Property("p", "real")])).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    targets = torch.zeros(batch, 1, device=device)
    invariance = TrainingCopies(Copies(zoo, ("permutation",)), frozenset(rows), draws=1, weight=0.1)
    drawn = invariance.copies.draw(rows, 0)

    def step(weight: float) -> None:
        items = [*prepared, *invariance.copy(encoder, rows, 0)] if weight else prepared
        optimizer.zero_grad(set_to_none=True)
        outputs = model(encoder.collate(items).to(device))
        loss = model.heads.loss(outputs[:batch], targets)
        if weight:
            loss = loss + weight * invariance_term(outputs[:batch], outputs[None, batch:])
        loss.backward()
        optimizer.step()

    figures = {
        "step_ms": milliseconds(lambda: step(0.0), repeats, device),
        "draw_and_apply_ms": milliseconds(lambda: invariance.copies.draw(rows, 0), repeats, device),
        "prepare_copies_ms": milliseconds(lambda: encoder.prepare(drawn.networks(rows)), repeats, device),
        "step_with_term_ms": milliseconds(lambda: step(0.1), repeats, device),
    }
    figures["draw_and_apply_share"] = figures["draw_and_apply_ms"] / figures["step_ms"]
    figures["copies_share"] = (figures["draw_and_apply_ms"] + figures["prepare_copies_ms"]) / figures["step_ms"]
    return {name: round(value, 4) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--families",
        default="small_cnn,mlp,residual_cnn,vit",
        help="zoo families, separated by commas (default %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=32, help="networks per step (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="repeats, of which the fastest counts (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="device: cpu or cuda (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="JSON file to which figures are added (default %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    key = f"{options.device}, {options.threads} threads, batch {options.batch}"
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    figures = {}
    for family in options.families.split(","):
        with tempfile.TemporaryDirectory() as folder:
            zoo = write_networks(Path(folder) / "zoo", family, options.batch)
            figures[family] = measure(zoo, options.batch, options.repeats, device)
            print(family, json.dumps(figures[family]), flush=True)
    command = f"python benchmarks/bench_invariance_cost.py --batch {options.batch} --threads {options.threads}"
    command += f" --device {options.device} --families {options.families}"
    known[key] = {"command": command, "machine": machine, "torch": torch.__version__, "families": figures}
    options.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
