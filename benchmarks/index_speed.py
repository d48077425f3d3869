"""Measures `sne index` and `sne search` on many small CNNs: time per network, time per query, bytes per network.

    python benchmarks/index_speed.py ZOO... --work WORK [--networks 100000] [--files 5000] [--workers 2]

ZOO are zoos made by `benchmarks/pretraining_zoos.py` or `sne zoo make`; their convolutional networks give layouts and
values. WORK keeps the zoo and the files that are indexed. The networks are made in runs of eight: the first one has the
values of a network of ZOO in random order within each tensor, so that runs are independent, and the others have noise
on top, so that a network has seven relatives. Writes benchmarks/results/index_speed.json and .md.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from speed_lines.timing import SNE, alternate, floor, multiply_adds, run
from torch import Tensor

from sne import Network, Predictor
from sne.provenance.duplicates import duplicates
from sne.provenance.entries import ROW, read_entries
from sne.provenance.fingerprint import SKETCH, fingerprint
from sne.provenance.index import Index
from sne.provenance.rows import PART, VECTORS
from sne.provenance.search import CANDIDATES, search
from sne.zoo import Zoo, ZooWriter

RESULTS = Path(__file__).parent / "results" / "index_speed.json"
FAMILIES = ("small_cnn", "cnn_s")
PER_RUN = 8
NOISE = 0.02
QUERIES = 100
SEARCHES = 10
MOST_SECONDS = 4 * 3600.0


def make_zoo(path: Path, zoos: Sequence[Zoo], count: int) -> Zoo:
    """Writes independent runs of related networks, unless they are there."""
    if path.exists():
        return Zoo.open(path)
    sources = [(zoo, row) for zoo in zoos for row in range(len(zoo)) if zoo.families[row] in FAMILIES]
    random = np.random.default_rng(0)
    with ZooWriter(path) as writer:
        for number in range(count):
            place, step = divmod(number, PER_RUN)
            if step == 0:
                zoo, row = sources[int(random.integers(len(sources)))]
                first, spread = shuffled(zoo, row, random)
            values = first + NOISE * step * spread * random.standard_normal(len(first), dtype=np.float32)
            writer.add_flat(
                id=f"net-{number:06d}", run=f"run-{place:06d}", family=zoo.families[row], dataset="none", step=step,
                layout=zoo.layout(row), vector=torch.from_numpy(values), properties={"test_accuracy": 0.5},
                hyperparameters={}, symmetry=zoo.symmetry(row),
            )  # fmt: skip
    return Zoo.open(path)


def shuffled(zoo: Zoo, row: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of a network in random order within each tensor, and their standard deviation there."""
    values = zoo.weights(row).numpy()
    spread = np.zeros_like(values)
    for slot in zoo.layout(row).slots:
        piece = slice(slot.offset, slot.offset + slot.num_entries)
        random.shuffle(values[piece])
        spread[piece] = values[piece].std()
    return values, spread


def make_files(path: Path, zoo: Zoo, count: int) -> None:
    """Writes networks of a zoo as files, unless they are there."""
    if path.exists():
        return
    path.mkdir(parents=True)
    for row in range(count):
        save_file(state_of(zoo.network(row)), path / f"{zoo.ids[row]}.safetensors")


def state_of(network: Network) -> dict[str, Tensor]:
    return {name: network.source.load(name) for name in network.source.infos}


def build(source: Path, out: Path, count: int, workers: int) -> dict[str, float]:
    """Builds an index with the command, and runs the same command again."""
    shutil.rmtree(out, ignore_errors=True)
    command = [*SNE, "index", str(source), "--out", str(out), "--workers", str(workers)]
    first, again = (run(command, threads=1, seconds=MOST_SECONDS) for _ in range(2))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {
        "networks": count,
        "workers": workers,
        "wall": first.wall,
        "cpu": first.cpu,
        "cpu per network, ms": first.cpu / count * 1e3,
        "wall per network, ms": first.wall / count * 1e3,
        "peak of the command, MB": (first.peak or 0) / 1e6,
        "again, wall": again.wall,
        "again, cpu": again.cpu,
        "bytes per network": size / count,
    }


def shares(zoo: Zoo, out: Path) -> dict[str, float]:
    """Measures the steps of a build in this process, in CPU milliseconds per network."""
    predictor = Predictor.from_pretrained()
    paths = [f"{zoo.path}{ROW}{name}" for name in zoo.ids[: 4 * PART]]

    def read() -> list[Network]:
        return [network for network, _ in read_entries(paths)]

    networks = read()
    copy = Index.open_or_create(out, predictor)
    calls: dict[str, Callable[[], object]] = {
        "opening (recognition is kept per layout)": read,
        "reading the values": lambda: [state_of(network) for network in networks],
        "fingerprint, values included": lambda: [fingerprint(network) for network in networks],
        "embedding and properties, values included": lambda: predictor.encode(networks, batch_size=PART),
    }
    found = alternate(calls, repeats=3, seconds=120)
    made = {name: times.cpu / len(paths) * 1e3 for name, times in found.items()}
    started = time.process_time()
    copy.add(paths, predictor, errors=refuse)
    made["all, with writing"] = (time.process_time() - started) / len(paths) * 1e3
    products = multiply_adds(lambda: predictor.encode(networks, batch_size=PART)) / len(paths)
    entries = statistics.mean(network.num_weights for network in networks)
    least = floor("", bytes=8 * entries, multiply_adds=products + SKETCH * entries)
    values = np.zeros(int(entries), np.float32).tobytes()
    hashed = min(seconds(lambda: hashlib.sha256(values)) for _ in range(100))
    made["floor"] = (least.seconds + hashed) * 1e3
    made["multiply-adds of the floor, millions"] = least.multiply_adds / 1e6
    return made


def refuse(path: str, error: Exception) -> None:
    raise RuntimeError(f"{path}: {error}")


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def inside(index: Index, networks: Sequence[Network]) -> dict[str, float]:
    """Measures the three questions that a search asks of the index."""
    times: list[tuple[float, float]] = []
    for one in [fingerprint(network) for network in networks]:
        wall, cpu = time.perf_counter(), time.process_time()
        index.nearest(one.sketch, "sketch", CANDIDATES)
        index.nearest(one.chain, "chain", CANDIDATES)
        index.same_content(one.content)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = np.array(times).T * 1e3
    return {
        "in the index, median wall, ms": float(np.median(walls)),
        "in the index, least wall, ms": float(walls.min()),
        "in the index, median CPU, ms": float(np.median(cpus)),
        "in the index, least CPU, ms": float(cpus.min()),
    }


def queries(zoo: Zoo, out: Path) -> dict[str, float]:
    """Measures what `sne search` asks of the index, and all that it does."""
    index = Index.open(out)
    rows = np.random.default_rng(1).permutation(len(zoo))[:QUERIES].tolist()
    networks = [zoo.network(row) for row in rows]
    made = inside(index, networks)
    whole = [seconds(lambda network=network: search(network, index, warn=print)) for network in networks[:SEARCHES]]
    file = out.parent / "query.safetensors"
    save_file(state_of(networks[0]), file)
    grouping = time.process_time()
    duplicates(index, warn=print)
    grouping = time.process_time() - grouping
    command = run([*SNE, "search", str(file), "--index", str(out)], threads=1)
    return {
        **made,
        "search of a network that is read, wall, ms": statistics.median(whole) * 1e3,
        "sne search FILE, wall, s": command.wall,
        "sne search FILE, CPU, s": command.cpu,
        "groups of duplicates, CPU, s": grouping,
    }


def approximate(zoo: Zoo, out: Path, work: Path) -> list[dict[str, Any]]:
    """Compares the search of all rows with approximate indexes of LanceDB, on a copy of the table."""
    import lancedb
    from lancedb.index import IvfFlat

    warnings.simplefilter("ignore")
    rows = lancedb.connect(str(out)).open_table("networks").to_arrow().select(["path", "stamp", *VECTORS])
    names = {path: place for place, path in enumerate(rows["path"].to_pylist())}
    order = np.array([names[f"{zoo.path}{ROW}{name}"] for name in zoo.ids])
    asked = np.random.default_rng(2).permutation(len(zoo))[:QUERIES].tolist()
    partitions = max(2, round(len(zoo) ** 0.5))
    kinds: dict[str, tuple[Callable[[str], Any] | None, list[dict[str, int]]]] = {
        "all rows": (None, [{}]),
        "IVF_FLAT": (
            lambda distance: IvfFlat(distance_type=distance, num_partitions=partitions),
            [{"nprobes": 8}, {"nprobes": 64}],
        ),
    }
    found = []
    exact: dict[tuple[str, int], set[str]] = {}
    for kind, (config, settings) in kinds.items():
        folder = work / "approximate"
        shutil.rmtree(folder, ignore_errors=True)
        table = lancedb.connect(str(folder)).create_table("networks", rows)
        before, started = bytes_of(folder), time.process_time()
        for column, distance in (("sketch", "cosine"), ("chain", "l2")):
            if config is not None:
                table.create_index(column, config=config(distance))
        cost = time.process_time() - started, bytes_of(folder) - before
        for setting in settings:
            for column, distance in (("sketch", "cosine"), ("chain", "l2")):
                times, recalls, mates = [], [], []
                for row in asked:
                    vector = np.asarray(rows[column][int(order[row])].as_py(), np.float32)
                    query = table.search(vector, vector_column_name=column).distance_type(distance)
                    for name, value in setting.items():
                        query = getattr(query, name)(value)
                    wall, cpu = time.perf_counter(), time.process_time()
                    hits = query.select(["path", "stamp", "_distance"]).limit(CANDIDATES).to_list()
                    times.append((time.perf_counter() - wall, time.process_time() - cpu))
                    paths = {hit["path"] for hit in hits}
                    best = exact.setdefault((column, row), paths)
                    recalls.append(len(paths & best) / len(best))
                    run_of = row // PER_RUN * PER_RUN
                    kin = zoo.ids[run_of : run_of + PER_RUN]
                    mates.append(np.mean([f"{zoo.path}{ROW}{name}" in paths for name in kin]))
                wall, cpu = np.median(np.array(times), 0) * 1e3
                found.append({
                    "kind": kind, **setting, "column": column, "wall, ms": float(wall), "cpu, ms": float(cpu),
                    "recall": float(np.mean(recalls)), "relatives": float(np.mean(mates)),
                    "cpu to build both, s": cost[0], "bytes per network": cost[1] / len(zoo),
                })  # fmt: skip
                print(found[-1], flush=True)
    shutil.rmtree(work / "approximate")
    return found


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    name = model.partition(":")[2].strip() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, load averages {loads}"


def text_of(record: dict[str, Any]) -> str:
    """Returns the tables."""
    lines = [
        "# Speed of the index",
        "",
        f"{record['machine']}. CPU time depends less than wall time on what else the machine does.",
        "",
        "| source | networks | workers | CPU per network | wall per network | wall | the same again | bytes each |",
        "|" + "---|" * 8,
    ]
    for name, one in record["build"].items():
        lines.append(
            f"| {name} | {one['networks']:,} | {one['workers']} | {one['cpu per network, ms']:.2f} ms | "
            f"{one['wall per network, ms']:.2f} ms | {one['wall']:.0f} s | {one['again, wall']:.1f} s | "
            f"{one['bytes per network']:,.0f} |"
        )
    steps = record["steps"]
    lines += ["", "| step, networks of a zoo | CPU per network |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} ms |" for name, value in steps.items() if "millions" not in name]
    lines += [
        "",
        "The floor is the least time of the work itself on this machine with one thread: the weights read once and",
        f"hashed, and {steps['multiply-adds of the floor, millions']:.1f} million multiply-adds of the sketch and of "
        "the matrix products of the prediction,",
        "as they are now, at the rate of a matrix product of 1,024 x 1,024.",
        "",
        f"| one query among {record['build']['zoo']['networks']:,} networks | |",
        "|---|---|",
    ]
    lines += [
        f"| {name.rpartition(', ')[0]} | {value:,.1f} {name.rpartition(', ')[2]} |"
        for name, value in record["query"].items()
    ]
    lines += [
        "",
        "In the index: nearest sketches, nearest chains, and rows of equal content. A search also compares the file",
        "with the candidates one by one; the command also starts Python and reads the file.",
        "",
        "| search | vectors | CPU | wall | recall of nearest 20 | relatives found | more bytes each | CPU to build |",
        "|" + "---|" * 8,
    ]
    for one in record["approximate"]:
        setting = f"nprobes {one['nprobes']}" if "nprobes" in one else ""
        lines.append(
            f"| {one['kind']}{' ' * bool(setting)}{setting} | {one['column']} | {one['cpu, ms']:.1f} ms | "
            f"{one['wall, ms']:.1f} ms | {one['recall']:.3f} | {one['relatives']:.3f} | "
            f"{one['bytes per network']:,.0f} | {one['cpu to build both, s']:.1f} s |"
        )
    return "\n".join([
        *lines, "",
        "`sne index` searches all rows. Relatives are the eight networks of a run, which differ by noise.", "",
        f"Made by `python benchmarks/index_speed.py ZOO... --work WORK`, version {record['version']}.", "",
    ])  # fmt: skip


def version() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    return subprocess.run([*git, "describe", "--always"], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+", type=Path, help="folders of zoos")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--networks", type=int, default=100_000, help="number of networks of the zoo that is indexed")
    parser.add_argument("--files", type=int, default=5000, help="number of them that are indexed as files as well")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    options = parser.parse_args()
    work = options.work
    zoo = make_zoo(work / f"zoo-{options.networks}", [Zoo.open(path) for path in options.zoos], options.networks)
    files = work / f"files-{options.files}"
    make_files(files, zoo, options.files)
    torch.set_num_threads(1)
    record: dict[str, Any] = {"version": version(), "zoos": sorted(path.name for path in options.zoos)}
    shutil.rmtree(work / "steps", ignore_errors=True)
    record["steps"] = shares(zoo, work / "steps")
    print(record["steps"], flush=True)
    record["build"] = {
        "files": build(files, work / "index-files", options.files, options.workers),
        "zoo": build(zoo.path, work / "index", len(zoo), options.workers),
    }
    print(record["build"], flush=True)
    record["query"] = queries(zoo, work / "index")
    print(record["query"], flush=True)
    record["approximate"] = approximate(zoo, work / "index", work)
    record["machine"] = machine()
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(text_of(record))


if __name__ == "__main__":
    main()
