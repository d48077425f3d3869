"""The index, what is found in it, and what happens to it."""

import dataclasses
import json
import os

import pytest
import torch
from family_zoo import write_family_zoo
from provenance.descendants import copy_of, noisy, perceptron, pruned

from sne import Predictor, ProvenanceError, Relation, ZooError, compare, read_network
from sne.provenance.entries import read_entry, stamp_of
from sne.provenance.evidence import Change
from sne.provenance.index import SETTINGS, Index
from sne.provenance.search import read_known, search, search_properties
from sne.zoo.store.folder import FolderLock


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_pretrained()


def no_errors(path, error):
    raise AssertionError(f"{path}: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A perceptron, its descendants, and strangers of the same architecture."""
    folder = tmp_path_factory.mktemp("files")
    module = perceptron(0)
    state = module.state_dict()
    made = {
        "parent": state,
        "renamed": {f"net.{name}": values for name, values in state.items()},
        "tuned": noisy(state, 0.2),
        "half": {name: values.half() for name, values in state.items()},
        "permuted": copy_of(module, torch.zeros(2, 16)),
    }
    made |= {f"stranger-{seed}": perceptron(seed).state_dict() for seed in range(1, 13)}
    for name, values in made.items():
        torch.save(values, folder / f"{name}.pt")
    return folder


@pytest.fixture(scope="module")
def index(folder, predictor, tmp_path_factory):
    made = Index.open_or_create(tmp_path_factory.mktemp("index") / "index", predictor)
    added = made.add(sorted(map(str, folder.glob("*.pt"))), predictor, errors=no_errors)
    assert (added.added, added.unchanged, added.total) == (17, 0, 17)
    return made


def names(hits):
    return {hit.path.rpartition("/")[2]: hit.relation for hit in hits}


def test_relatives_are_found_and_strangers_are_not(index, folder):
    hits = search(read_network(folder / "parent.pt"), index, warn=pytest.fail)
    assert names(hits) == {
        "renamed.pt": Relation.IDENTICAL,
        "permuted.pt": Relation.SAME_FUNCTION,
        "half.pt": Relation.PRECISION,
        "tuned.pt": Relation.FINE_TUNE,
    }
    assert [hit.rank for hit in hits] == [1, 2, 3, 4] and hits[0].relation is Relation.IDENTICAL
    assert all(hit.p_value is not None and hit.p_value < 1e-20 for hit in hits)


@pytest.mark.parametrize("is_trained", [True, False])
def test_pruned_relatives_that_were_trained_need_a_p_value_that_many_candidates_allow(
    index, folder, monkeypatch, is_trained
):
    state = perceptron(0).state_dict()
    zeros = {name: pruned(values, 0.5) for name, values in state.items()}
    trained = {name: values * (zeros[name] != 0) for name, values in noisy(state, 0.2).items()}
    found = compare(state, trained if is_trained else zeros)
    assert found.relation is Relation.PRUNED and found.is_exact is not is_trained
    assert is_trained == any(layer.change is Change.OTHER for layer in found.layers)

    def hits_at(p_value):
        known = {str(folder / "tuned.pt"): dataclasses.replace(found, p_value=p_value)}
        monkeypatch.setattr("sne.provenance.search.compare_known", lambda network, path, mark, warn: known.get(path))
        return names(search(read_network(folder / "parent.pt"), index, warn=pytest.fail))

    kept = {"tuned.pt": Relation.PRUNED}
    assert hits_at(0.9e-6 / len(index)) == kept
    assert hits_at(1.1e-6 / len(index)) == ({} if is_trained else kept)


def test_a_network_without_relatives_has_none(index):
    assert search(read_network(perceptron(99).state_dict()), index, warn=pytest.fail) == []


def test_conditions_select_networks(index, folder):
    network = read_network(folder / "parent.pt")
    hits = search(network, index, where="path LIKE '%tuned%' AND num_weights > 10", warn=pytest.fail)
    assert set(names(hits)) == {"tuned.pt"}
    with pytest.raises(ProvenanceError, match=r"num_weigts.*Columns: path, "):
        search(network, index, where="num_weigts > 10", warn=pytest.fail)


def test_the_number_of_relatives_is_bounded(index, folder):
    assert len(search(read_network(folder / "parent.pt"), index, most=2, warn=pytest.fail)) == 2


def test_properties_can_be_searched(index, folder, predictor):
    hits = search_properties(read_network(folder / "parent.pt"), index, predictor, most=3)
    assert len(hits) == 3 and hits[0].score == pytest.approx(1, abs=1e-2) and hits[0].relation is None


def test_only_what_has_changed_is_read_again(folder, predictor, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(perceptron(0).state_dict(), path)
    made = Index.open_or_create(tmp_path / "index", predictor)
    made.add([str(path)], predictor, errors=no_errors)
    again = made.add([str(path)], predictor, errors=no_errors)
    assert (again.added, again.unchanged) == (0, 1)
    torch.save({**perceptron(1).state_dict(), "more": torch.zeros(3)}, path)
    changed = made.add([str(path)], predictor, errors=no_errors)
    assert (changed.added, changed.unchanged, changed.total) == (1, 0, 1)


def test_a_file_that_is_replaced_with_equal_size_and_time_is_read_again(folder, predictor, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(perceptron(0).state_dict(), path)
    status = path.stat()
    made = Index.open_or_create(tmp_path / "index", predictor)
    made.add([str(path)], predictor, errors=no_errors)
    torch.save(perceptron(1).state_dict(), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    changed = made.add([str(path)], predictor, errors=no_errors)
    assert (changed.added, changed.unchanged, changed.total) == (1, 0, 1)


def test_moved_and_changed_files_are_told(predictor, tmp_path):
    state = perceptron(0).state_dict()
    for name in ("moved", "changed"):
        torch.save(state, tmp_path / f"{name}.pt")
    made = Index.open_or_create(tmp_path / "index", predictor)
    made.add([str(tmp_path / f"{name}.pt") for name in ("moved", "changed")], predictor, errors=no_errors)
    (tmp_path / "moved.pt").unlink()
    torch.save({**state, "more": torch.zeros(3)}, tmp_path / "changed.pt")
    told = []
    search(read_network(state), made, warn=told.append)
    assert any("moved.pt" in line and "not there any more" in line for line in told)
    assert any("changed.pt" in line and "changed since" in line for line in told)


def test_bad_files_are_told_and_the_others_indexed(predictor, tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    torch.save(perceptron(0).state_dict(), tmp_path / "good.pt")
    torch.save({"0.weight": torch.full((4, 4), torch.nan)}, tmp_path / "nan.pt")
    told = {}
    made = Index.open_or_create(tmp_path / "index", predictor)
    paths = [str(tmp_path / f"{name}.pt") for name in ("bad", "good", "nan")]
    added = made.add(paths, predictor, errors=lambda path, error: told.update({path: str(error)}))
    assert added.total == 1 and sorted(told) == [paths[0], paths[2]]


def test_an_interrupted_run_continues(folder, predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("sne.provenance.index.PART", 4)
    paths = sorted(map(str, folder.glob("*.pt")))
    made = Index.open_or_create(tmp_path / "index", predictor)

    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.add(paths, predictor, errors=no_errors, on_progress=stop)
    again = Index.open(tmp_path / "index").add(paths, predictor, errors=no_errors)
    assert (again.added, again.unchanged, again.total) == (9, 8, 17)


def test_networks_of_zoos_are_indexed_by_row(predictor, tmp_path):
    zoo, _ = write_family_zoo(tmp_path / "zoo", ("mlp", "small_cnn"), traced=True)
    made = Index.open_or_create(tmp_path / "index", predictor)
    added = made.add([str(zoo.path)], predictor, errors=no_errors)
    assert added.total == len(zoo)
    path = f"{zoo.path}::{zoo.ids[1]}"
    assert read_entry(path).name == path
    rows = made.same_content("none") + made.nearest(
        torch.zeros(128).numpy() + 1, "sketch", 1, f"family = '{zoo.families[0]}'"
    )
    assert len(rows) == 1
    with pytest.raises(ProvenanceError, match="has no network nobody"):
        read_entry(f"{zoo.path}::nobody")


def test_paths_are_the_same_however_they_are_written(folder, predictor, tmp_path, monkeypatch):
    made = Index.open_or_create(tmp_path / "index", predictor)
    monkeypatch.chdir(folder)
    made.add(["parent.pt", "./parent.pt", str(folder / "parent.pt")], predictor, errors=no_errors)
    assert len(made) == 1 and search(read_network("parent.pt"), made, warn=pytest.fail) == []
    zoo, _ = write_family_zoo(tmp_path / "zoo", ("mlp",), traced=True)
    made.add([str(zoo.path), f"{zoo.path}/"], predictor, errors=no_errors)
    (zoo.path / "networks.parquet").touch()
    again = made.add([str(zoo.path), f"{zoo.path}/"], predictor, errors=no_errors)
    assert again.total == 1 + len(zoo) and again.added == len(zoo)


def test_names_like_those_of_zoos_are_files(predictor, tmp_path):
    path = tmp_path / "a::b.pt"
    torch.save(perceptron(0).state_dict(), path)
    torch.save(perceptron(0).state_dict(), tmp_path / "it's.pt")
    made = Index.open_or_create(tmp_path / "index", predictor)
    added = made.add([str(path), str(tmp_path / "it's.pt")], predictor, errors=no_errors)
    assert added.total == 2 and len(search(read_network(path), made, warn=pytest.fail)) == 1
    (tmp_path / "it's.pt").unlink()
    assert made.add([str(path)], predictor, errors=no_errors).removed == 1


def test_what_is_gone_or_broken_leaves_the_index(predictor, tmp_path):
    paths = [tmp_path / f"{name}.pt" for name in ("kept", "gone", "broken")]
    for path in paths:
        torch.save(perceptron(0).state_dict(), path)
    made = Index.open_or_create(tmp_path / "index", predictor)
    made.add(map(str, paths), predictor, errors=no_errors)
    paths[1].unlink()
    paths[2].write_bytes(b"no checkpoint")
    told = []
    again = made.add([str(paths[0]), str(paths[2])], predictor, errors=lambda path, error: told.append(path))
    assert (again.unchanged, again.removed, again.total) == (1, 2, 1) and told == [str(paths[2])]


def test_a_first_write_that_was_killed_is_repeated(folder, predictor, tmp_path):
    made = Index.open_or_create(tmp_path / "index", predictor)
    (tmp_path / "index" / "networks.lance" / "data").mkdir(parents=True)
    assert len(made) == 0
    assert made.add([str(folder / "parent.pt")], predictor, errors=no_errors).total == 1


def test_a_damaged_table_is_told(folder, predictor, tmp_path):
    made = Index.open_or_create(tmp_path / "index", predictor)
    made.add([str(folder / "parent.pt")], predictor, errors=no_errors)
    for path in (tmp_path / "index" / "networks.lance" / "data").iterdir():
        path.unlink()
    with pytest.raises(ProvenanceError, match="the table cannot be read"):
        Index.open(tmp_path / "index").rows(["path", "chain"])


def test_conditions_with_comments_and_many_relatives(index, folder):
    network = read_network(folder / "parent.pt")
    hits = search(network, index, where="num_weights > 1 -- all", most=10_000, warn=pytest.fail)
    assert len(hits) == 4


def test_two_writers_are_refused(folder, predictor, tmp_path):
    made = Index.open_or_create(tmp_path / "index", predictor)
    with FolderLock(tmp_path / "index"), pytest.raises(ZooError, match="another process"):
        made.add([str(folder / "parent.pt")], predictor, errors=no_errors)


def test_what_is_no_index_is_refused(predictor, tmp_path):
    with pytest.raises(ProvenanceError, match="is not an index"):
        Index.open(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ProvenanceError, match="is not empty and no index"):
        Index.open_or_create(tmp_path / "full", predictor)
    made = Index.open_or_create(tmp_path / "index", predictor)
    settings = made.folder / SETTINGS
    values = json.loads(settings.read_text())
    for change, message in (({"version": 0}, "of version 0"), ({"predictor": "other"}, "another predictor")):
        settings.write_text(json.dumps({**values, **change}))
        with pytest.raises(ProvenanceError, match=message):
            Index.open_or_create(made.folder, predictor)
    settings.write_text("{")
    with pytest.raises(ProvenanceError, match="cannot be read"):
        Index.open(made.folder)


def test_a_file_of_an_index_that_cannot_be_read_is_named_once(tmp_path):
    path, state = str(tmp_path / "two.pt"), perceptron(0).state_dict()
    torch.save([state, state], path)
    lines = []
    assert read_known(path, stamp_of(path), lines.append) is None
    assert lines == [f"{path}: a list of 2 networks: 0, 1"]
