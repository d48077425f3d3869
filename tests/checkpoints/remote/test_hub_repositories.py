"""Repositories of the Hub: its own client against an imitation of its routes."""

import json
import shutil
from pathlib import Path

import pytest
from checkpoint_files import branching, same_values
from huggingface_hub import constants
from remote_servers import HubImitation, commit_of, serving
from safetensors.torch import save_file

from sne.checkpoints import read_network
from sne.checkpoints.remote import connection, version_of
from sne.errors import CheckpointError, RemoteError


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    whole, sharded = tmp_path / "ada" / "whole", tmp_path / "ada" / "sharded"
    whole.mkdir(parents=True)
    sharded.mkdir()
    state = branching().state_dict()
    save_file(state, whole / "model.safetensors")
    (whole / "config.json").write_text(json.dumps({"model_type": "branching"}))
    (whole / "README.md").write_text("# A network")
    (whole / "old").mkdir()
    save_file(branching(seed=1).state_dict(), whole / "old" / "model.safetensors")
    names = sorted(state)
    files = {name: f"model-{1 + number % 2:05d}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, sharded / file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return tmp_path


@pytest.fixture
def hub(root: Path, monkeypatch):
    imitation = HubImitation()
    with serving(root, imitation) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server, imitation


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("hf://ada/whole", "ada/whole"),
        ("hf://ada/whole@v1", "ada/whole"),
        ("hf://ada/whole/model.safetensors", "ada/whole/model.safetensors"),
        ("hf://ada/whole@main/old", "ada/whole/old"),
        ("hf://ada/sharded", "ada/sharded"),
        ("hf://ada/sharded/model.safetensors.index.json", "ada/sharded/model.safetensors.index.json"),
    ],
)
def test_a_repository_is_read_as_a_folder(hub, root: Path, address: str, local: str):
    remote, here = read_network(address), read_network(root / local)
    assert remote.name.startswith(address)
    assert same_values(remote, here)
    assert remote.source.config == here.source.config
    assert [note.reason for note in remote.notes] == [note.reason for note in here.notes]


def test_only_headers_are_fetched_and_all_from_one_commit(hub, root: Path):
    server, _ = hub
    assert read_network("hf://ada/whole").layers
    fetched = [request["path"] for request in server.requests]
    assert len([path for path in fetched if path.startswith("/api/")]) == 1
    assert all(commit_of("ada/whole") in path for path in fetched if "/resolve/" in path)
    assert not any("README" in path or "/old/" in path for path in fetched)


def test_the_version_of_a_repository_is_its_commit(hub):
    assert version_of("hf://ada/whole") == commit_of("ada/whole")
    assert commit_of("ada/whole") in version_of("hf://ada/whole/model.safetensors")
    assert version_of("hf://ada/none") == ""


def test_the_token_goes_to_the_hub_alone(hub, root: Path, monkeypatch):
    _, imitation = hub
    imitation.token = "hf_secret"
    with pytest.raises(RemoteError, match="has no such repository, or it is private: for a private one, log in"):
        read_network("hf://ada/whole")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert same_values(read_network("hf://ada/whole"), read_network(root / "ada/whole"))
    assert imitation.tokens_elsewhere
    assert set(imitation.tokens_elsewhere) == {""}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("hf://ada/none", "the Hub has no such repository"),
        ("hf://ada/whole@v9", "the repository has no revision 'v9'"),
        ("hf://ada/whole/none.pt", "no such file or folder"),
        ("hf://ada/whole/../other", "the path has '..' in it"),
        ("hf://datasets/ada/whole", "not a model"),
        ("hf://", "not an address of the Hub"),
    ],
)
def test_what_is_not_there_is_named(hub, address: str, reason: str):
    with pytest.raises(CheckpointError) as found:
        read_network(address)
    assert reason in found.value.reason


def test_a_file_of_another_length_than_listed_is_refused(hub, root: Path):
    server, imitation = hub

    def longer(exchange) -> bool:
        if exchange.path.startswith("/cdn/"):
            body = (root / "ada/whole/model.safetensors").read_bytes() + b"more"
            exchange.answer(206, body, {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"})
            return True
        return imitation(exchange)

    server.hook = longer
    with pytest.raises(RemoteError, match="bytes are listed, the server has"):
        read_network("hf://ada/whole/model.safetensors")


def test_a_repository_that_is_changed_in_between_is_refused(hub, root: Path):
    network = read_network("hf://ada/whole")
    other = root / "ada" / "whole" / "old" / "model.safetensors"
    big = root / "ada" / "big"
    big.mkdir()
    state = {f"{number}.weight": branching(number).fc.weight.repeat(200, 20) for number in range(8)}
    save_file(state, big / "model.safetensors")
    network = read_network("hf://ada/big")
    shutil.copy(other, big / "model.safetensors")
    with pytest.raises(RemoteError, match="the file has changed on the server while it was read"):
        network.read(network.layers[-1].parts[0])


def test_without_an_address_nothing_is_asked(root: Path, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a network call")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert read_network(root / "ada" / "whole").layers
