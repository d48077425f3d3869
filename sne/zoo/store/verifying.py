"""Whether a zoo is whole, and which networks are hurt if it is not."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sne.errors import ZooError
from sne.zoo.store.drafts import DRAFTS, split_file
from sne.zoo.store.index import COPY, INDEX, TIMINGS, index_damage, read_timings
from sne.zoo.store.layout import LAYOUTS
from sne.zoo.store.shards import SHARD_NAME, checksum
from sne.zoo.store.symmetries import SYMMETRIES, symmetry_id
from sne.zoo.store.zoo import Zoo


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: the file, what is wrong with it, and how many networks it hurts."""

    file: str
    reason: str
    networks: int


@dataclass(frozen=True)
class HurtNetwork:
    """A network whose weights cannot be trusted or read, and the file to blame."""

    id: str
    run: str
    family: str
    file: str


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Args:
        path: of the zoo.
        networks: how many it has.
        bytes_read: of weights whose checksum was taken.
        faults: what is wrong, one entry a file and reason.
        hurt: the networks that the faults hurt, each once, in the order of the index.
        notes: what is odd but does no harm: leftovers of a writer that was stopped, layouts that no network has.
    """

    path: str
    networks: int
    bytes_read: int
    faults: tuple[Fault, ...]
    hurt: tuple[HurtNetwork, ...]
    notes: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"whole": self.is_whole, **asdict(self)}


def verify(path: Path | str, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Reads a whole zoo and compares it with its checksums.

    Found are: weights that changed; shards that are missing, damaged or cut short; rows that point nowhere; layouts
    that are missing or changed; ids that come twice; symmetries that are missing or changed; durations that cannot be
    read; runs that the split names and the zoo lacks. Networks that are not among the hurt can go on being used.

    Args:
        path: the zoo's folder.
        progress: called with networks done and networks in all, a thousand times at most.

    Raises:
        ZooError: it cannot be opened at all; the message says what remains.
    """
    zoo = Zoo.open(path)
    blames: dict[int, tuple[str, str]] = {}
    bad_layouts = _bad_layouts(zoo)
    layouts, shards = zoo.column("layout"), zoo.column("shard")
    checksums, seen, bytes_read = zoo.column("checksum"), set(), 0
    every = max(len(zoo) // 1000, 1)  # a bar costs more than a network
    for row, name in enumerate(zoo.ids):
        if name in seen:
            blames[row] = (INDEX, "the id comes twice")
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
    counts: dict[tuple[str, str], int] = {}
    for blame in blames.values():
        counts[blame] = counts.get(blame, 0) + 1
    hurt = [HurtNetwork(zoo.ids[row], zoo.runs[row], zoo.families[row], file) for row, (file, _) in blames.items()]
    faults = [Fault(file, reason, count) for (file, reason), count in counts.items()] + _faults_beside(zoo)
    if damage := index_damage(zoo.path):
        faults.append(Fault(INDEX, f"cannot be read ({damage}); its copy {COPY} is read in its place", 0))
    return VerifyReport(str(zoo.path), len(zoo), bytes_read, tuple(faults), tuple(hurt), tuple(_notes(zoo)))


def _bad_layouts(zoo: Zoo) -> dict[str | None, str]:
    """What is wrong with layouts that rows have, by id."""
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
    """What is wrong with symmetries that rows have. The weights do not depend on them."""
    bad: list[str] = []
    for key in dict.fromkeys(zoo.column("symmetry")) if "symmetry" in zoo.table.column_names else ():
        try:
            if key is not None and key not in zoo.symmetries:
                bad.append(f"symmetry {key} is missing")
            elif key is not None and symmetry_id(zoo.symmetries[key]) != key:
                bad.append(f"symmetry {key} has changed")
        except ZooError as error:
            bad.append(str(error).partition(": ")[2])
    return bad


def _reason(zoo: Zoo, shard: str, error: ZooError) -> str:
    """Why a row cannot be read, in words that the rows of one shard share."""
    if not SHARD_NAME.fullmatch(shard):
        return "is no name of a shard"
    if not (zoo.path / shard).is_file():
        return "is missing"
    text = str(error)
    if "asked for" in text or "points nowhere" in text:
        return "networks lie beyond its end"
    return f"is damaged or cut short ({text.rpartition(': ')[2]})"


def _faults_beside(zoo: Zoo) -> list[Fault]:
    """What is wrong with files that hurt no network."""
    faults = []
    try:
        json.loads((zoo.path / LAYOUTS).read_text())  # `Layouts` reads its lines one by one, others all of it
    except ValueError as error:
        faults.append(Fault(LAYOUTS, f"is not JSON as a whole ({error})", 0))
    faults += [Fault(SYMMETRIES, reason, 0) for reason in _bad_symmetries(zoo)]
    if (zoo.path / TIMINGS).exists() and read_timings(zoo.path) is None:
        faults.append(Fault(TIMINGS, "is damaged: the column wall_time is not there", 0))
    if zoo.split is not None:
        known = set(zoo.runs)
        lacking = [run for piece in (zoo.split.train, zoo.split.val, zoo.split.test) for run in piece]
        lacking = [run for run in lacking if run not in known]
        if lacking:
            names = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            faults.append(Fault(split_file(zoo.path).name, f"names {len(lacking)} runs that the zoo lacks: {names}", 0))
    return faults


def _notes(zoo: Zoo) -> list[str]:
    notes = []
    spare = set(zoo.layouts) - set(zoo.column("layout"))
    if spare:
        notes.append(f"{LAYOUTS}: no network has {len(spare)} of the layouts ({', '.join(sorted(spare)[:5])})")
    if "symmetry" in zoo.table.column_names and (spare := set(zoo.symmetries) - set(zoo.column("symmetry"))):
        notes.append(f"{SYMMETRIES}: no network has {len(spare)} of the symmetries ({', '.join(sorted(spare)[:5])})")
    used = set(zoo.column("shard"))
    left = sorted(p.name for p in zoo.path.iterdir() if SHARD_NAME.fullmatch(p.name) and p.name not in used)
    if left:
        notes.append(f"{', '.join(left)}: no network lies there; left by a writer that was stopped, or of no use")
    if (zoo.path / DRAFTS).exists():
        notes.append(f"{DRAFTS}: another process writes, or was stopped while it wrote; the next writer clears it")
    return notes
