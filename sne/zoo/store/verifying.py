"""Checking whether a zoo is intact, and which networks are damaged if it is not."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sne.errors import ZooError, counted
from sne.zoo.store.columns import some
from sne.zoo.store.descriptions import LAYOUTS, SYMMETRIES, symmetry_id
from sne.zoo.store.folder import COPY, DRAFTS, INDEX, TIMINGS, split_file
from sne.zoo.store.index import index_damage, read_timings
from sne.zoo.store.shards import SHARD_NAME, checksum
from sne.zoo.store.split import PIECES
from sne.zoo.store.zoo import Zoo


@dataclass(frozen=True)
class Fault:
    """One fault: the file, the reason, and the number of damaged networks."""

    file: str
    reason: str
    networks: int


@dataclass(frozen=True)
class DamagedNetwork:
    """A network whose weights cannot be read or have changed, and the file with the fault."""

    id: str
    run: str
    family: str
    file: str


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`.

    Args:
        path: Folder of the zoo.
        networks: Number of networks in the zoo.
        bytes_read: Number of bytes of weights that were compared with checksums.
        faults: One entry per file and reason.
        damaged: Networks that the faults affect, each once, in the order of the index.
        notes: Harmless findings: leftovers of a stopped writer, layouts that no network has.
    """

    path: str
    networks: int
    bytes_read: int
    faults: tuple[Fault, ...]
    damaged: tuple[DamagedNetwork, ...]
    notes: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Returns the report as plain JSON values."""
        return {"intact": self.is_intact, **asdict(self)}


def verify(path: Path | str, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Reads a whole zoo and compares it with its checksums.

    It finds weights that have changed; shards that are missing, damaged or cut short; rows without a place in a shard;
    layouts and symmetries that are missing or have changed; duplicate ids; durations that cannot be read; runs of the
    split that are not in the zoo. Networks that are not damaged remain usable.

    Args:
        path: Folder of the zoo.
        progress: Called with the number of networks done and the number of all, at most a thousand times.

    Raises:
        ZooError: The zoo cannot be opened. The message names the files that remain.
    """
    zoo = Zoo.open(path)
    blames, bytes_read = _blames(zoo, progress)
    damaged = [
        DamagedNetwork(zoo.ids[row], zoo.runs[row], zoo.families[row], file) for row, (file, _) in blames.items()
    ]
    counts = Counter(blames.values())
    faults = [Fault(file, reason, count) for (file, reason), count in counts.items()] + _faults_of_other_files(zoo)
    if damage := index_damage(zoo.path):
        faults.append(Fault(INDEX, f"cannot be read ({damage}); its copy {COPY} is read in its place", 0))
    return VerifyReport(str(zoo.path), len(zoo), bytes_read, tuple(faults), tuple(damaged), tuple(_notes(zoo)))


def _blames(zoo: Zoo, progress: Callable[[int, int], None] | None) -> tuple[dict[int, tuple[str, str]], int]:
    """Reads all weights; returns file and reason for each damaged row, and the number of bytes read."""
    blames: dict[int, tuple[str, str]] = {}
    bad_layouts = _bad_layouts(zoo)
    layouts, shards = zoo.column("layout"), zoo.column("shard")
    checksums, seen, bytes_read = zoo.column("checksum"), set(), 0
    every = max(len(zoo) // 1000, 1)  # drawing a progress bar costs more than a checksum
    for row, name in enumerate(zoo.ids):
        if name in seen:
            blames[row] = (INDEX, "the id is used twice")
        elif layouts[row] in bad_layouts:
            blames[row] = (LAYOUTS, bad_layouts[layouts[row]])
        else:
            try:
                stored = zoo.stored(row)
                bytes_read += stored.numel() * stored.element_size()
                if checksum(stored) != checksums[row]:
                    blames[row] = (str(shards[row]), "weights do not match their checksum")
            except ZooError as error:
                blames[row] = (str(shards[row]), _reason(zoo, str(shards[row]), error))
        seen.add(name)
        if progress and ((row + 1) % every == 0 or row + 1 == len(zoo)):
            progress(row + 1, len(zoo))
    return blames, bytes_read


def _bad_layouts(zoo: Zoo) -> dict[str | None, str]:
    """Returns the faults of layouts that rows have, by id."""
    bad: dict[str | None, str] = {}
    for key in dict.fromkeys(zoo.column("layout")):
        try:
            if key not in zoo.layouts:
                bad[key] = f"layout {key} is missing"
            elif zoo.layouts[key].id != key:
                bad[key] = f"layout {key} has changed"
        except ZooError as error:
            bad[key] = str(error).partition(": ")[2]
    return bad


def _bad_symmetries(zoo: Zoo) -> list[str]:
    """Returns the faults of symmetries that rows have. The weights do not depend on them."""
    bad: list[str] = []
    for key in dict.fromkeys(zoo.column("symmetry")):
        try:
            if key is not None and key not in zoo.symmetries:
                bad.append(f"symmetry {key} is missing")
            elif key is not None and symmetry_id(zoo.symmetries[key]) != key:
                bad.append(f"symmetry {key} has changed")
        except ZooError as error:
            bad.append(str(error).partition(": ")[2])
    return bad


def _reason(zoo: Zoo, shard: str, error: ZooError) -> str:
    """Returns the reason why a row cannot be read, in words that are the same for all rows of a shard."""
    if not SHARD_NAME.fullmatch(shard):
        return "is not the name of a shard"
    if not (zoo.path / shard).is_file():
        return "is missing"
    text = str(error)
    if "asked for" in text or "no place in a shard" in text:
        return "networks lie beyond its end"
    return f"is damaged or cut short ({text.rpartition(': ')[2]})"


def _faults_of_other_files(zoo: Zoo) -> list[Fault]:
    """Returns the faults of files that damage no network."""
    faults = []
    try:
        json.loads((zoo.path / LAYOUTS).read_text())  # `Layouts` parses single lines; other programs parse all of it
    except ValueError as error:
        faults.append(Fault(LAYOUTS, f"is not JSON as a whole ({error})", 0))
    faults += [Fault(SYMMETRIES, reason, 0) for reason in _bad_symmetries(zoo)]
    if (zoo.path / TIMINGS).exists() and read_timings(zoo.path) is None:
        faults.append(Fault(TIMINGS, "is damaged: the column wall_time is not there", 0))
    if zoo.split is not None:
        known = set(zoo.runs)
        lacking = [run for piece in PIECES for run in getattr(zoo.split, piece) if run not in known]
        if lacking:
            reason = f"names {counted(len(lacking), 'run')} that the zoo does not have: {some(lacking, 5)}"
            faults.append(Fault(split_file(zoo.path).name, reason, 0))
    return faults


def _notes(zoo: Zoo) -> list[str]:
    notes = []
    spare = set(zoo.layouts) - set(zoo.column("layout"))
    if spare:
        notes.append(f"{LAYOUTS}: {counted(len(spare), 'layout')} without a network ({some(sorted(spare), 5)})")
    if spare := set(zoo.symmetries) - set(zoo.column("symmetry")):
        notes.append(f"{SYMMETRIES}: {counted(len(spare), 'symmetry')} without a network ({some(sorted(spare), 5)})")
    used = set(zoo.column("shard"))
    left = sorted(p.name for p in zoo.path.iterdir() if SHARD_NAME.fullmatch(p.name) and p.name not in used)
    if left:
        notes.append(f"{', '.join(left)}: no network is stored there; left by a writer that was stopped")
    if (zoo.path / DRAFTS).exists():
        notes.append(f"{DRAFTS}: a process is writing, or was stopped while it wrote; the next writer removes it")
    return notes
