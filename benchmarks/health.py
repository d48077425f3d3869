"""Measures `sne check`: false alarms on trained networks, detection of faults that are put in, and speed.

    python benchmarks/health.py ZOO... [--networks 400] [--faults 150] [--files FOLDER ...]
    python benchmarks/health.py ZOO... --networks 1500 --heads

ZOO are zoos made by `sne zoo make`, whose networks end at different test accuracies. A network counts as trained if its
test accuracy is at least one half; whatever is found in it beyond remarks is a false alarm. Faults are put into one
layer of trained networks in which nothing was found. Untrained networks are built from the families of zoos. FOLDER
holds checkpoints of others. Writes the section "Check" of benchmarks/results/people.md; with --heads, the section "New
last layers": how often the last layers of trained networks are called untrained, and how often new ones are.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten, wrap

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import sne
from sne import HealthReport, Network, Zoo
from sne.making.families import FAMILIES
from sne.networks import Role

NOTE = """
Not named on purpose: layers before the last one drawn as torch does with fewer than 500 weights, whose edge says
little, and layers without biases next to a norm that was trained, unless they are large and unlike the others. Fewer
trained networks are accused in return."""
RESULTS = Path(__file__).parent / "results" / "people.md"
LEAST_ACCURACY = 0.5
SUFFIXES = (".safetensors", ".pt", ".pth", ".onnx", ".h5", ".npz", ".jit", ".tar")
State = dict[str, Tensor]


def last_rows(zoo: Zoo) -> list[int]:
    """Returns the row of the last checkpoint of each run."""
    last: dict[str, int] = {}
    steps = zoo.column("step")
    for row, run in enumerate(zoo.runs):
        if run not in last or steps[row] > steps[last[run]]:
            last[run] = row
    return sorted(last.values())


def alarms(report: HealthReport) -> tuple[str, ...]:
    """Returns the codes of what is found beyond remarks."""
    return tuple(sorted({found.code for found in report.findings if found.severity != "info"}))


def measure_zoos(zoos: Sequence[Zoo], networks: int) -> tuple[list[str], list[tuple[Network, str]]]:
    """Checks the last networks of runs.

    Returns:
        Lines of a table, and the trained networks in which nothing was found, with their families.
    """
    counts: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    codes: Counter[str] = Counter()
    good: list[tuple[Network, str]] = []
    random = np.random.default_rng(0)
    for zoo in zoos:
        rows = random.permutation(last_rows(zoo))[: networks // len(zoos)]
        accuracy = zoo.column("test_accuracy")
        for row in rows.tolist():
            is_trained = bool(accuracy[row] >= LEAST_ACCURACY)
            network, family = zoo.network(row), zoo.families[row]
            report = sne.check(network)
            counts[family, is_trained][report.verdict.value] += 1
            if is_trained:
                codes.update(alarms(report))
            if is_trained and report.verdict == "good":
                good.append((network, family))
    lines = ["| family | trained | good | doubtful | broken | accuracy below one half | good | doubtful | broken |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    total: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for family in sorted({family for family, _ in counts}):
        lines.append(f"| {family} | {_cells(counts[family, True])} | {_cells(counts[family, False])} |")
        for is_trained in total:
            total[is_trained].update(counts[family, is_trained])
    lines.append(f"| all | {_cells(total[True])} | {_cells(total[False])} |")
    named = ", ".join(f"{code} {count}" for code, count in codes.most_common()) or "none"
    return [*lines, "", f"Findings beyond remarks in trained networks: {named}."], good


def _cells(verdicts: Counter[str]) -> str:
    count = verdicts.total()
    shares = (f"{verdicts[name] / count:.1%}" if count else "-" for name in ("good", "doubtful", "broken"))
    return f"{count} | " + " | ".join(shares)


def redraw(state: State, network: Network, layer: str, how: Callable[[nn.Linear | nn.Conv2d], None]) -> None:
    """Draws the weights of a layer anew, as `how` initialises a module of its shape."""
    parts = {part.role: part for part in next(one for one in network.layers if one.name == layer).parts}
    stored = state[parts[Role.WEIGHT].tensor]
    shape, bias = stored.shape, parts.get(Role.BIAS)
    module = (
        nn.Linear(shape[1], shape[0], bias is not None)
        if stored.ndim == 2
        else nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), bias=bias is not None)
    )
    how(module)
    state[parts[Role.WEIGHT].tensor] = module.weight.detach().clone()
    if bias is not None and module.bias is not None:
        state[bias.tensor] = module.bias.detach().clone()


def as_transformers(module: nn.Linear | nn.Conv2d) -> None:
    """Initialises as transformers does: normal 0.02, biases 0."""
    nn.init.normal_(module.weight, std=0.02)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def as_keras(module: nn.Linear | nn.Conv2d) -> None:
    """Initialises as Keras does: Glorot uniform, biases 0."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def faults(network: Network, random: np.random.Generator) -> Iterator[tuple[str, str, State]]:
    """Yields copies of a network, each with one fault: what it is, the code that has to be found, and the weights."""
    plain = {name: network.source.load(name).clone() for name in network.source.infos}

    def pick(roles: Sequence[Role], least: int = 2) -> tuple[str, str] | None:
        """Returns layer and tensor of one part of these roles, drawn at random."""
        places = [
            (layer.name, part.tensor)
            for layer, part in network.parts()
            if part.role in roles and part.num_entries >= least and part.axis is None
        ]
        return places[int(random.integers(len(places)))] if places else None

    weight, table = pick((Role.WEIGHT,), 32), pick((Role.WEIGHT, Role.BIAS, Role.SCALE))
    if table:
        state = {name: values.clone() for name, values in plain.items()}
        flat = state[table[1]].view(-1)
        flat[int(random.integers(len(flat)))] = torch.nan
        yield "one NaN", "nonfinite", state
        if (largest := plain[table[1]].abs().max()) > 0:
            yield "scale 2e10", "scale", plain | {table[1]: plain[table[1]] * (2e10 / largest)}
    if weight:
        yield "zeroed layer", "zero", plain | {weight[1]: torch.zeros_like(plain[weight[1]])}
        half = plain[weight[1]].clone()
        half[: -(-len(half) // 2)] = 0
        if half[0].numel() >= 4 and len(half) >= 2:
            yield "half of the neurons zeroed", "half-empty", plain | {weight[1]: half}
    for name, how in (("torch", lambda module: None), ("transformers", as_transformers), ("Keras", as_keras)):
        layers = [
            (layer.name, part)
            for layer, part in network.parts()
            if part.role is Role.WEIGHT and len(part.shape) in (2, 4) and part.axis is None and part.in_axis == 1
        ]
        if layers:
            layer, part = layers[int(random.integers(len(layers)))]
            state = dict(plain)
            redraw(state, network, layer, how)
            size = "500 weights or more" if part.num_entries >= 500 else "fewer than 500 weights"
            kind = "no bias" if not any(p.role is Role.BIAS for p in _layer(network, layer).parts) else "with bias"
            yield f"redrawn as {name}, {kind}, {size}", "untrained-layer", state
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for _, part in network.parts():
        if part.role is Role.WEIGHT and part.num_entries >= 16 and part.axis is None:
            alike[part.shape].append(part.tensor)
    pairs = [names for names in alike.values() if len(names) > 1]
    if pairs:
        names = pairs[int(random.integers(len(pairs)))]
        yield "duplicated layer", "duplicate", plain | {names[1]: plain[names[0]].clone()}
    variance = pick((Role.RUNNING_VAR,), 1)
    if variance:
        negative = plain[variance[1]].clone()
        negative[0] = -1e-3
        yield "negative running variance", "negative-variance", plain | {variance[1]: negative}
    if weight and plain[weight[1]].ndim == 2:
        rows, columns = plain[weight[1]].shape
        adapter = {"layer.lora_A.weight": torch.randn(2, columns), "layer.lora_B.weight": torch.zeros(rows, 2)}
        yield "adapter with B = 0", "adapter-without-effect", adapter


def _layer(network: Network, name: str) -> sne.networks.Layer:
    return next(layer for layer in network.layers if layer.name == name)


def measure_faults(good: Sequence[tuple[Network, str]], count: int) -> list[str]:
    """Returns the lines of a table with the share of faults that are found."""
    random = np.random.default_rng(1)
    torch.manual_seed(1)
    by_family: dict[str, list[Network]] = defaultdict(list)
    for network, family in good:
        by_family[family].append(network)
    chosen = [one for networks in by_family.values() for one in networks[: -(-count // len(by_family))]]
    found: dict[str, list[bool]] = defaultdict(list)
    for network in chosen:
        for name, code, state in faults(network, random):
            found[name].append(code in {one.code for one in sne.check(state).findings})
    lines = ["| fault | networks | found |", "|---|---|---|"]
    lines += [f"| {name} | {len(hits)} | {np.mean(hits):.1%} |" for name, hits in found.items()]
    return lines


def measure_untrained(count: int) -> list[str]:
    """Returns the lines of a table with the share of untrained networks of each family that are called so."""
    lines = ["| family | untrained networks | called untrained | only some layers | good |", "|---|---|---|---|---|"]
    for name, family in FAMILIES.items():
        verdicts: Counter[str] = Counter()
        for seed in range(count):
            generator = torch.Generator().manual_seed(seed)
            settings = family.sample(np.random.default_rng(seed))
            module = family.build(settings, (1, 28, 28), 10, generator)
            codes = {found.code for found in sne.check(module).findings}
            whole, some = "untrained-network" in codes, "untrained-layer" in codes
            verdicts["whole" if whole else "some" if some else "none"] += 1
        shares = " | ".join(f"{verdicts[one] / count:.0%}" for one in ("whole", "some", "none"))
        lines.append(f"| {name} | {count} | {shares} |")
    return lines


def measure_files(folder: Path) -> list[str]:
    """Returns a line about each verdict on the files of a folder, and one per file with findings beyond remarks."""
    verdicts: Counter[str] = Counter()
    rows = []
    for file in sorted(folder.rglob("*")):
        if not file.name.endswith(SUFFIXES):
            continue
        try:
            report = sne.check(file)
        except sne.SneError:
            verdicts["not read"] += 1
            continue
        verdicts[report.verdict.value] += 1
        for one in report.findings:
            if one.severity != "info":
                rows.append(f"| {file.name} | {one.code} | {one.location} | {shorten(one.message, 90)} |")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(verdicts.items()))
    return [f"{folder.name}: {counts}.", "", "| file | finding | location | message |", "|---|---|---|---|", *rows, ""]


SPEED = """
import sys, time
import torch, sne
torch.set_num_threads(1)
size, buffer = 0, bytearray(1 << 22)
start, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb", buffering=0) as file:
    while count := file.readinto(buffer):
        size += count
print(size, time.perf_counter() - start, time.process_time() - cpu)
sne.check({"a.weight": torch.randn(64, 64)})
start, cpu = time.perf_counter(), time.process_time()
sne.check(sys.argv[1])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - start, time.process_time() - cpu, peak)
"""


def measure_speed() -> list[str]:
    """Returns a line on the speed and the memory of the check of a file of 1 GB."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.safetensors"
        shapes = {"q": (1024, 1024), "k": (1024, 1024), "v": (1024, 1024), "up": (4096, 1024), "down": (1024, 4096)}
        save_file(
            {
                f"layers.{i}.{name}_proj.weight": torch.randn(shape) * 0.02 + 0.01 * torch.randn(shape[0], 1)
                for i in range(22)
                for name, shape in shapes.items()
            },
            file,
        )
        done = subprocess.run([sys.executable, "-c", SPEED, str(file)], capture_output=True, text=True, check=True)
    (size, wall, cpu), (own_wall, own_cpu, memory) = (map(float, line.split()) for line in done.stdout.splitlines())
    return [
        f"A safetensors file of {size / 1e9:.2f} GB in the page cache, float32, one thread: {own_cpu:.1f} s of CPU "
        f"({own_wall:.1f} s by the clock), next to {cpu:.2f} s ({wall:.2f} s) to read its bytes and do nothing; "
        f"largest resident size {memory / 1e3:.0f} MB, torch included."
    ]


def is_head_named(report: HealthReport, head: str) -> bool:
    """Whether the last layer is found to be untrained, alone or with the whole network."""
    return any(one.code == "untrained-network" or (one.code, one.location) == ("untrained-layer", head)
               for one in report.findings)  # fmt: skip


def measure_heads(zoos: Sequence[Zoo], networks: int) -> list[str]:
    """Returns the lines of two tables: false alarms by test accuracy, and new last layers by initialiser and size."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    alarms: dict[str, list[bool]] = {name: [] for name in ("below 0.3", "0.3 to 0.5", "0.5 to 0.8", "0.8 or more")}
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for zoo in zoos:
        accuracy = zoo.column("test_accuracy")
        for row in random.permutation(len(accuracy))[: networks // len(zoos)].tolist():
            network = zoo.network(row)
            last = max(layer.level for layer in network.layers)
            heads = [layer for layer in network.layers if layer.level == last and layer.type.value == "linear"]
            if len(heads) != 1 or accuracy[row] != accuracy[row]:
                continue
            (head,) = heads
            place = int(np.searchsorted((0.3, 0.5, 0.8), accuracy[row], side="right"))
            alarms[list(alarms)[place]].append(is_head_named(sne.check(network), head.name))
            if accuracy[row] < LEAST_ACCURACY or row % 4:
                continue
            plain = {name: network.source.load(name).clone() for name in network.source.infos}
            count = max(part.num_entries for part in head.parts)
            size = "64 to 127" if count < 128 else "128 to 299" if count < 300 else "300 or more"
            for name, how in (("torch", lambda module: None), ("transformers", as_transformers), ("Keras", as_keras)):
                state = dict(plain)
                redraw(state, network, head.name, how)
                found[name, size].append(is_head_named(sne.check(state), head.name))
    lines = ["| test accuracy | networks | last layer called untrained |", "|---|---|---|"]
    lines += [f"| {name} | {len(hits)} | {sum(hits)} |" for name, hits in alarms.items()]
    lines += ["", "| new last layer as drawn by | weights | networks | found |", "|---|---|---|---|"]
    return lines + [
        f"| {name} | {size} | {len(hits)} | {np.mean(hits):.1%} |" for (name, size), hits in sorted(found.items())
    ]


def write_section(lines: Sequence[str], title: str = "Check") -> None:
    """Writes a section, in place of an older one."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Tools for people\n"
    section = "\n".join([f"## {title}", "", *lines]).rstrip() + "\n"
    if f"## {title}\n" in text:
        text = re.sub(rf"## {title}\n.*?(?=\n## |\Z)", lambda _: section, text, flags=re.DOTALL)
    else:
        text = text.rstrip() + "\n\n" + section
    RESULTS.write_text(text)


def main() -> None:
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description="Measures sne check.")
    parser.add_argument("zoos", nargs="+", type=Path)
    parser.add_argument("--networks", type=int, default=400, help="networks of the zoos to check")
    parser.add_argument("--faults", type=int, default=150, help="networks into which faults are put")
    parser.add_argument("--untrained", type=int, default=20, help="untrained networks per family")
    parser.add_argument("--heads", action="store_true", help="measure new last layers alone")
    parser.add_argument("--files", nargs="*", type=Path, default=[], help="folders of checkpoints of others")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    if options.heads:
        lines = ["Made by `benchmarks/health.py --heads`, on checkpoints of all steps.", ""]
        lines += measure_heads([Zoo.open(path) for path in options.zoos], options.networks)
        write_section(lines, "New last layers")
        print("\n".join(lines))
        return
    zoos = [Zoo.open(path) for path in options.zoos]
    used = f"--networks {options.networks} --faults {options.faults} --untrained {options.untrained}"
    names = ", ".join(f"{path.name} ({len(set(zoo.runs))} runs)" for path, zoo in zip(options.zoos, zoos, strict=True))
    made_by = f"Made by `benchmarks/health.py ZOO... {used}`, whose docstring says how, on these zoos: {names}."
    lines = [*wrap(made_by, 140, break_on_hyphens=False), "", "### False alarms", ""]
    table, good = measure_zoos(zoos, options.networks)
    lines += [*table, "", "### Faults that were put in", "", *measure_faults(good, options.faults), NOTE, ""]
    lines += ["### Untrained networks", "", *measure_untrained(options.untrained), ""]
    if options.files:
        lines += ["### Files of others", ""]
        for folder in options.files:
            lines += measure_files(folder)
    lines += ["### Speed", "", *measure_speed()]
    write_section(lines)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print("\n".join(lines), f"\n{time.process_time() - start:.0f} s of CPU, {peak:.0f} MB")


if __name__ == "__main__":
    main()
