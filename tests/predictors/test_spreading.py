"""The same predictions, whoever reads the files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from spread_cases import KillingEncoder, make_predictor, write_checkpoints

from sne.errors import CheckpointError, SneError
from sne.predictors import PredictorError, encode
from sne.predictors.experts import NeuralExpert
from sne.predictors.spreading import PART_BYTES, choose_executor, choose_workers, do_part, parts
from sne.work import InThisProcess, ProcessPool


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Seven networks; the third cannot be read, the fifth has a bad value, the sixth is read in doubt."""
    found = write_checkpoints(tmp_path / "nets", 7)
    Path(found[2]).write_bytes(b"nothing")
    bad = load_file(found[4])
    bad["0.weight"][0, 0] = float("nan")
    save_file(bad, found[4])
    doubtful = load_file(found[5])
    save_file({**doubtful, "code": torch.ones(99, 99, dtype=torch.int32)}, found[5])
    return found


def run(predictor, paths, **options):
    """Names, values and embeddings, and what was said of the files."""
    failures, doubts = [], []
    blocks = list(
        predictor.predict_blocks(
            paths, errors=lambda name, error: failures.append((name, type(error), str(error))),
            tell=lambda name, reasons: doubts.append((name, reasons)), **options,
        )
    )  # fmt: skip
    names = [name for block in blocks for name in block.names]
    return names, np.concatenate([b.values for b in blocks]), np.concatenate([b.embedding for b in blocks]), (
        sorted(failures), doubts,
    )  # fmt: skip


def test_processes_read_as_this_process_does(paths, monkeypatch):
    monkeypatch.chdir(Path(paths[0]).parent)
    relative = ["./net0.safetensors", *paths[1:], "gone.pt"]
    predictor = make_predictor()
    here = run(predictor, relative, batch_size=2)
    assert here[0] == [relative[i] for i in (0, 1, 3, 5, 6)]
    failures, doubts = here[3]
    assert [name for name, _, _ in failures] == sorted([relative[2], relative[4], "gone.pt"])
    assert [name for name, _ in doubts] == [relative[5]]
    for executor in (InThisProcess(), ProcessPool(2, attempts=1)):
        there = run(predictor, relative, batch_size=2, executor=executor)
        assert there[0] == here[0] and there[3] == here[3]
        np.testing.assert_allclose(there[1], here[1], rtol=1e-6)
        np.testing.assert_allclose(there[2], here[2], rtol=1e-5)


def test_a_file_that_kills_its_reader_is_skipped_alone(tmp_path):
    paths = write_checkpoints(tmp_path / "nets", 4)
    killer = str(tmp_path / "nets" / "killer.safetensors")
    paths[1] = str(Path(paths[1]).rename(killer))
    names, values, _, (failures, _) = run(
        make_predictor(KillingEncoder), paths, batch_size=3, executor=ProcessPool(1, attempts=1)
    )
    assert names == [paths[0], *paths[2:]] and np.isfinite(values).all()
    ((name, kind, reason),) = failures
    assert (name, kind) == (killer, PredictorError)
    assert reason == f"{killer}: cannot be read: lost 2 times with its worker process (SIGKILL, perhaps out of memory)"


def test_errors_are_raised_as_they_are(paths):
    with pytest.raises(CheckpointError, match=r"net2\.safetensors: "):
        make_predictor().predict(paths, executor=InThisProcess())
    values = make_predictor().values(paths[:2], executor=InThisProcess())
    np.testing.assert_array_equal(values["accuracy"], make_predictor().values(paths[:2])["accuracy"])


def test_encoders_without_a_predictor(paths):
    encoder = make_predictor().experts[0].model.encoder.train()
    here = encode(paths[:2], encoder=encoder)
    np.testing.assert_array_equal(encode(paths[:2], encoder=encoder, executor=InThisProcess()), here)
    assert encoder.training and here.shape == (2, 5)


def test_encoders_skip_bad_values_and_tell_of_samples(paths, caplog):
    encoder = make_predictor().experts[0].model.encoder
    failures = []
    for executor in (None, InThisProcess()):
        found = encode(
            paths[3:],
            encoder=encoder,
            executor=executor,
            errors=lambda name, error: failures.append((name, str(error))),
        )
        np.testing.assert_allclose(found, encode([paths[3], *paths[5:]], encoder=encoder), atol=1e-6)
    assert [name for name, _ in failures] == [paths[4]] * 2 and "NaN" in failures[0][1]
    with pytest.raises(ValueError, match=r"net4\.safetensors"):
        encode(paths[3:], encoder=encoder)
    caplog.clear()
    encode(paths[:2], encoder=encoder, budget=36)
    assert [record.getMessage() for record in caplog.records] == [f"{paths[1]}: a sample of 12 of 43 weights was read"]


@pytest.mark.parametrize("of_encoder", [False, True])
def test_a_limit_that_no_worker_keeps_is_one_error(tmp_path, of_encoder):
    paths = write_checkpoints(tmp_path / "nets", 4)
    failures = []
    options = {
        "memory": 1,
        "executor": ProcessPool(1),
        "batch_size": 2,
        "errors": lambda *error: failures.append(error),
    }
    predictor = make_predictor()
    with pytest.raises(SneError, match="the memory limit is 1 MB and the process takes"):
        if of_encoder:
            encode(paths, encoder=predictor.experts[0].model.encoder, **options)
        else:
            predictor.encode(paths, **options)
    assert not failures


def test_parts_in_any_order(paths):
    class Backwards(InThisProcess):
        def run(self, function, items, **options):
            yield from sorted(super().run(function, items, **options), key=lambda answer: -answer.index)

    names = run(make_predictor(), paths, batch_size=2, executor=Backwards())[0]
    assert names == [paths[i] for i in (0, 1, 3, 5, 6)]
    found = run(make_predictor(), paths, batch_size=2, executor=Backwards(), is_ordered=False)[0]
    assert found == [paths[i] for i in (6, 5, 3, 0, 1)]


def test_what_cannot_travel(paths):
    with pytest.raises(PredictorError, match="a Linear cannot be sent to other processes"):
        make_predictor().predict([torch.nn.Linear(3, 2)], executor=InThisProcess())
    predictor = make_predictor()
    expert = predictor.experts[0]
    assert isinstance(expert, NeuralExpert)
    expert._make = lambda: expert.model  # as after training
    with pytest.raises(PredictorError, match=r"cannot be sent to other processes .*save it, and load it again"):
        predictor.predict(paths, executor=ProcessPool(1))


def test_parts(tmp_path):
    paths = [str(tmp_path / name) for name in "abcdef"]
    for path, size in zip(paths, (10, 20, PART_BYTES, 5, 5), strict=False):
        with Path(path).open("wb") as file:
            file.truncate(size)
    found = list(parts(paths, 2))
    assert [path for part in found for path in part.paths] == paths
    assert [part.sizes for part in found] == [(10, 20), (PART_BYTES,), (5, 5), (-1,)]
    assert [single.paths for single in found[0].singles()] == [(paths[0],), (paths[1],)]


def test_other_files_on_another_machine_are_refused(paths):
    (part,) = parts(paths[:2], 64)
    save_file({"0.weight": torch.ones(9, 9)}, paths[1])
    seen = []
    result = do_part(part, lambda paths, **options: seen.extend(paths) or ["result"], must_agree=True)
    assert seen == paths[:1] and result.results == ["result"]
    ((name, error),) = result.failures
    assert name == paths[1] and "all nodes of the cluster have to see the same files" in str(error)


def test_relative_paths_keep_their_folder(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "nets")
    (part,) = parts(["net0.safetensors"], 64)
    monkeypatch.chdir("/")
    result = do_part(part, make_predictor().predict_blocks, must_agree=True)
    assert not result.failures and result.results[0].names == ("net0.safetensors",) and Path.cwd() == Path("/")
    Path(paths[0]).unlink()
    (tmp_path / "nets").rename(tmp_path / "elsewhere")
    ((name, error),) = do_part(part, make_predictor().predict_blocks, must_agree=True).failures
    assert name == "net0.safetensors" and "it is a folder or no file" in str(error)


def test_few_files_are_read_without_processes(paths, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4))
    assert choose_workers(paths) == 0 and choose_executor(paths) is None
    assert choose_workers(paths * 10_000) == 4
    assert isinstance(choose_executor(paths, workers=1), ProcessPool) and choose_executor(paths, workers=0) is None
    with pytest.raises(PredictorError, match="a Ray cluster needs workers, got 0"):
        choose_executor(paths, workers=0, ray="local")
    large = Path(paths[0])
    with large.open("r+b") as file:
        file.truncate(10**9)
    assert choose_workers([paths[0]] * 3) == 3
    assert choose_workers([paths[0]]) == 0  # one file cannot be shared
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(1))
    assert choose_workers(paths * 10_000) == 0
