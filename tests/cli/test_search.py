"""`sne index` and `sne search`."""

import pytest
import torch
from provenance.descendants import noisy, perceptron
from ray_lock import ray_to_itself
from safetensors.torch import save_file
from small_disk import small_disk

from sne.zoo.store.folder import FolderLock


@pytest.fixture
def files(tmp_path):
    state = perceptron(0).state_dict()
    for name, values in {"a": state, "b": noisy(state, 0.2), "c": perceptron(1).state_dict(), "copy": state}.items():
        torch.save(values, tmp_path / f"{name}.pt")
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    return tmp_path


def test_an_index_is_made_updated_and_searched(sne_command, files):
    out = files / "index"
    done = sne_command("index", files / "*.pt", "--out", out)
    assert done.status == 2 and "broken.pt" in done.err and "4 networks, 4 of them new" in done.out
    (again,) = sne_command("index", files / "[abc].pt", "--out", out, "--json").json()
    assert again["added"] == 0 and again["unchanged"] == 3 and again["networks"] == 4

    found = sne_command("search", files / "a.pt", "--index", out, "--json").json()
    assert [(one["rank"], one["relation"]) for one in found] == [(1, "identical"), (2, "fine-tune")]
    assert {"file", "path", "p_value", "score"} <= found[0].keys()

    done = sne_command("search", files / "c.pt", "--index", out)
    assert done.status == 0 and done.out.strip() == "no relative in this index"
    (group,) = sne_command("search", "--duplicates", "--index", out, "--json").json()
    assert [(one["path"].rpartition("/")[2], one["relation"]) for one in group] == [
        ("a.pt", None), ("copy.pt", "identical"),
    ]  # fmt: skip
    (near,) = sne_command("search", files / "a.pt", "--index", out, "--like", "properties", "-k", 1, "--json").json()
    assert near["relation"] is None and near["score"] > 0.99


def test_a_folder_that_is_one_network_is_no_relative_of_itself(sne_command, files):
    folder, out = files / "model", files / "index"
    folder.mkdir()
    save_file(perceptron(0).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    assert sne_command("index", folder, files / "b.pt", "--out", out).status == 0
    found = sne_command("search", folder, "--index", out, "--json").json()
    assert [one["path"] for one in found] == [str(files / "b.pt")]


def test_a_full_disk_is_one_line_and_the_index_stays_usable(sne_command, files):
    out = files / "index"
    assert sne_command("index", files / "a.pt", files / "b.pt", "--out", out).status == 0
    with small_disk(2000):
        done = sne_command("index", files / "a.pt", files / "b.pt", files / "c.pt", "--out", out)
    assert done.status == 2 and done.out == "" and done.err.startswith(f"sne: cannot write {out}: ")
    assert len(done.err.splitlines()) == 1
    assert len(sne_command("search", files / "a.pt", "--index", out, "--json").json()) == 1
    (again,) = sne_command("index", files / "[abc].pt", "--out", out, "--json").json()
    assert (again["added"], again["unchanged"], again["networks"]) == (1, 2, 3)


def test_two_writers_are_one_line(sne_command, files):
    out = files / "index"
    assert sne_command("index", files / "a.pt", "--out", out).status == 0
    with FolderLock(out):
        done = sne_command("index", files / "b.pt", "--out", out)
    assert done.status == 2 and done.err == f"sne: {out} is being written by another process\n"


def test_files_are_read_in_processes_and_on_a_ray_cluster(sne_command, files):
    every = {}
    with ray_to_itself():
        for name, options in {"alone": ("--workers", 0), "ray": ("--ray", "local", "--workers", 1)}.items():
            done = sne_command("index", files / "*.pt", "--out", files / name, "--json", *options)
            (summary,) = done.json()
            every[name] = done.status, done.err, {**summary, "out": ""}
    assert every["alone"] == every["ray"] and every["ray"][2]["networks"] == 4
    done = sne_command("index", files / "a.pt", "--out", files / "ray", "--ray", "nowhere")
    assert done.status == 2 and "expected auto, local or HOST:PORT" in done.err and len(done.err.splitlines()) == 1


def test_a_wrong_condition_and_an_empty_index_are_one_line(sne_command, files):
    out = files / "index"
    assert sne_command("index", files / "broken.pt", "--out", out).status == 2
    done = sne_command("search", files / "a.pt", "--index", out, "--where", "nonsense >")
    assert done.status == 2 and "is empty" in done.err and len(done.err.splitlines()) == 1
    sne_command("index", files / "a.pt", "--out", out)
    for where in ("nonsense > 3", "path = 'it's'", "num_weights >"):
        done = sne_command("search", files / "a.pt", files / "b.pt", "--index", out, "--where", where)
        assert done.status == 2 and where in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--duplicates",), "is not an index"),
        (("a.pt", "--like", "size"), "expected weights or properties"),
    ],
)
def test_mistakes_are_one_line(sne_command, files, arguments, message):
    done = sne_command("search", *arguments, "--index", files)
    assert done.status == 2 and message in done.err and len(done.err.splitlines()) == 1
