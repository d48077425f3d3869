"""A short run of the fuzzing of `fuzz/` over every format and kind of folder: seeded, and not guided by coverage."""

import resource
from random import Random

import pytest

import fuzz.targets
import sne
from fuzz.mutations import change_bytes, mutate
from fuzz.seeds import make_seeds
from fuzz.targets import TARGETS, LimitError, Target

pytestmark = pytest.mark.filterwarnings("ignore")  # of zipfile, which is asked to write a member twice

EXECUTIONS = {"predictor": 40, "HDF5": 60, "Keras": 60}
"""Number of executions of the slow targets."""
USUAL = 150


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused_within_limits(name, seeds, tmp_path):
    """Nothing but an `SneError` is raised, and time and memory are bounded; see `Target.run`."""
    target, draw = TARGETS[name], Random(0)
    assert all(target.run(seed, tmp_path) for seed in seeds[name])
    outcomes = [
        target.run(mutate(draw.choice(seeds[name]), draw), tmp_path) for _ in range(EXECUTIONS.get(name, USUAL))
    ]
    assert 0 < sum(outcomes) < 0.98 * len(outcomes)  # mutations neither break everything nor nothing


def test_mutations_depend_on_the_seed_alone(seeds):
    for name, files in seeds.items():
        first, second = ([mutate(files[0], Random(seed)) for seed in range(5)] for _ in range(2))
        assert first == second, name
        assert any(changed != files[0] for changed in first)


def test_bytes_without_structure():
    assert {change_bytes(b"", Random(seed)) for seed in range(20)}


def test_limits_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz.targets, "MOST_SECONDS", 0.05)
    with pytest.raises(LimitError, match="s of processor time"):
        Target("t", ".x", lambda _: sum(range(10**7))).run(b"x", tmp_path)
    monkeypatch.undo()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with pytest.raises(LimitError, match="MiB for 1 bytes"):
        Target("t", ".x", lambda _: len(b"x" * peak)).run(b"x", tmp_path)


def test_only_own_errors_pass(tmp_path):
    def refuse(path):
        raise sne.CheckpointError(path, "no")

    def break_down(path):
        raise KeyError(path)

    assert not Target("t", ".x", refuse).run(b"x", tmp_path)
    with pytest.raises(KeyError):
        Target("t", ".x", break_down).run(b"x", tmp_path)
