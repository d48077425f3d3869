"""Checkpoints on a real web server: what is fetched, and what happens when the server does not keep its word."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_files import branching, same_values
from remote_servers import Exchange, serving
from safetensors.torch import save_file
from torch import nn

from sne.checkpoints import read_network
from sne.checkpoints.remote import connection, downloads
from sne.checkpoints.remote.blocks import BLOCK
from sne.cli.main import main
from sne.errors import CheckpointError, RemoteError

WIDTH = 160


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def large() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(6)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(large().state_dict(), tmp_path / "a.safetensors")
    torch.save(large().state_dict(), tmp_path / "a.pt")
    torch.save(large().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "packed.pt.gz").write_bytes(gzip.compress((tmp_path / "a.pt").read_bytes()))
    return tmp_path


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "old.pt", "packed.pt.gz"])
def test_a_remote_file_is_read_as_the_local_one(folder: Path, name: str):
    with serving(folder) as server:
        remote = read_network(f"{server.url}/{name}")
        assert remote.name == f"{server.url}/{name}"
        assert same_values(remote, read_network(folder / name))


@pytest.mark.parametrize(("name", "most"), [("a.safetensors", BLOCK), ("a.pt", 3 * BLOCK)])
def test_layers_are_known_from_the_header_alone(folder: Path, name: str, most: int):
    with serving(folder) as server:
        assert len(read_network(f"{server.url}/{name}").layers) == 6
        own = [request for request in server.requests if request["path"] == f"/{name}"]
    assert len(own) <= 3
    assert server.sent < most + 1000 < (folder / name).stat().st_size / 4


def test_each_byte_is_fetched_once_when_all_is_read(folder: Path):
    size = (folder / "a.safetensors").stat().st_size
    with serving(folder) as server:
        network = read_network(f"{server.url}/a.safetensors")
        for _ in range(2):
            assert all(network.read(part).isfinite().all() for _, part in network.parts())
        own = [request for request in server.requests if request["path"] == "/a.safetensors"]
    assert size <= server.sent < size + 1000
    assert len(own) < 12


def test_the_configuration_beside_a_file_is_read(tmp_path: Path):
    torch.manual_seed(0)
    state = {f"model.layers.0.self_attn.{name}_proj.weight": torch.randn(64, 64) for name in "qkvo"}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "num_attention_heads": 8}')
    with serving(tmp_path) as server:
        remote = read_network(f"{server.url}/model.safetensors")
    assert remote.source.config == {"model_type": "llama", "num_attention_heads": 8}


def test_an_index_finds_its_shards(tmp_path: Path):
    state = branching().state_dict()
    names = sorted(state)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: state[name] for name in part}, tmp_path / f"model-{number}.safetensors")
    places = {name: f"model-{int(name in names[1::2])}.safetensors" for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {str(places).replace(chr(39), chr(34))}}}')
    with serving(tmp_path) as server:
        remote = read_network(f"{server.url}/model.safetensors.index.json")
        assert same_values(remote, read_network(tmp_path))


def test_a_server_without_ranges_has_its_file_downloaded_once(folder: Path):
    with serving(folder) as server:
        server.has_ranges = False
        remote = read_network(f"{server.url}/a.pt")
        assert same_values(remote, read_network(folder / "a.pt"))
        own = [request for request in server.requests if request["path"] == "/a.pt"]
    assert len(own) == 2  # the second one is the download; the first was broken off


def test_a_download_that_is_too_large_is_refused_before_it_starts(folder: Path, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_DOWNLOADED", 100_000)
    with serving(folder) as server:
        server.has_ranges = False
        with pytest.raises(RemoteError, match=r"does not send parts of files; at most 0\.1 MB are: download the file"):
            read_network(f"{server.url}/a.pt")


def refused(folder: Path, hook, name: str = "a.safetensors", *, values: bool = True) -> str:
    with serving(folder, hook) as server, pytest.raises(CheckpointError) as found:
        network = read_network(f"{server.url}/{name}")
        if values:
            for _, part in network.parts():
                network.read(part)
    assert str(found.value).startswith(server.url)
    assert "\n" not in str(found.value)
    return found.value.reason


def is_later(exchange: Exchange) -> bool:
    return exchange.path.startswith("/a.") and not exchange.headers.get("Range", "bytes=0-").startswith("bytes=0-")


def test_a_file_that_changes_between_two_requests_is_refused(folder: Path):
    other = folder / "other"
    torch.manual_seed(1)
    save_file(nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(6))).state_dict(), other)

    def replace(exchange: Exchange) -> bool:
        if is_later(exchange):
            shutil.copy(other, folder / "a.safetensors")
        return False

    assert other.stat().st_size == (folder / "a.safetensors").stat().st_size
    assert refused(folder, replace) == "the file has changed on the server while it was read"


def test_a_change_is_noticed_where_the_condition_is_ignored(folder: Path):
    def other_tag(exchange: Exchange) -> bool:
        if not is_later(exchange):
            return False
        first, last = exchange.headers["Range"].removeprefix("bytes=").split("-")
        body = (folder / "a.safetensors").read_bytes()
        headers = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "ETag": '"another"'}
        exchange.answer(206, body[int(first) : int(last) + 1], headers)
        return True

    assert refused(folder, other_tag) == "the file has changed on the server while it was read"


def test_a_file_that_vanishes_is_refused(folder: Path):
    def vanish(exchange: Exchange) -> bool:
        if is_later(exchange):
            (folder / "a.safetensors").unlink(missing_ok=True)
        return False

    assert refused(folder, vanish) == "the file has changed on the server while it was read"


@pytest.mark.parametrize("shift", [-1, 1, 4096])
def test_another_range_than_was_asked_for_is_refused(folder: Path, shift: int):
    def shifted(exchange: Exchange) -> bool:
        if not is_later(exchange):
            return False
        first, last = (int(number) + shift for number in exchange.headers["Range"].removeprefix("bytes=").split("-"))
        body = (folder / "a.safetensors").read_bytes()
        exchange.answer(206, body[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"})
        return True

    assert "the server was asked for bytes" in refused(folder, shifted)


def test_a_body_that_always_ends_early_is_refused(folder: Path):
    def short(exchange: Exchange) -> bool:
        if not is_later(exchange):
            return False
        first, last = (int(number) for number in exchange.headers["Range"].removeprefix("bytes=").split("-"))
        body = (folder / "a.safetensors").read_bytes()
        headers = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "ETag": exchange.server.tag}
        exchange.answer(206, b"", headers, length=last + 1 - first)
        return True

    def first_tag(exchange: Exchange) -> bool:
        from hashlib import sha1

        exchange.server.tag = f'"{sha1((folder / "a.safetensors").read_bytes()).hexdigest()}"'
        return short(exchange)

    assert "bytes early, 4 times" in refused(folder, first_tag)


def test_a_body_that_ends_early_once_is_completed(folder: Path):
    broken = []

    def once(exchange: Exchange) -> bool:
        if not is_later(exchange) or broken:
            return False
        first, last = (int(number) for number in exchange.headers["Range"].removeprefix("bytes=").split("-"))
        broken.append(first)
        body = (folder / "a.safetensors").read_bytes()
        headers = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "ETag": exchange.headers["If-Range"]}
        exchange.answer(206, body[first : first + 1000], headers, length=last + 1 - first)
        return True

    with serving(folder, once) as server:
        remote = read_network(f"{server.url}/a.safetensors")
        assert same_values(remote, read_network(folder / "a.safetensors"))
        assert any(request.get("range", "").startswith(f"bytes={broken[0] + 1000}-") for request in server.requests)


def test_a_download_that_ends_early_is_refused(folder: Path):
    body = (folder / "a.pt").read_bytes()

    def cut(exchange: Exchange) -> bool:
        exchange.answer(200, body[:90_000], length=len(body))
        return True

    assert refused(folder, cut, "a.pt") == f"the connection ended after 90000 of {len(body)} bytes"


def test_a_compressed_answer_is_refused(folder: Path):
    def packed(exchange: Exchange) -> bool:
        exchange.answer(200, gzip.compress((folder / "a.pt").read_bytes()), {"Content-Encoding": "gzip"})
        return True

    assert refused(folder, packed, "a.pt") == "the server compresses the file (gzip), although it was asked not to"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the server asks for a user name and a password or a token"),
        (403, "the server does not permit it"),
        (500, "the server answers 500 (Internal Server Error), 4 times"),
        (429, "the server answers 429 (Too Many Requests), 4 times"),
    ],
)
def test_refusals_are_named(folder: Path, status: int, reason: str):
    def refuse(exchange: Exchange) -> bool:
        exchange.answer(status, b"")
        return True

    assert refused(folder, refuse) == reason


def test_a_server_that_fails_for_a_moment_is_asked_again(folder: Path):
    asked = []

    def busy(exchange: Exchange) -> bool:
        asked.append(exchange.path)
        if len(asked) % 2:
            exchange.answer(503, b"", {"Retry-After": "1"})
        return len(asked) % 2 == 1

    with serving(folder, busy) as server:
        assert same_values(read_network(f"{server.url}/a.pt"), read_network(folder / "a.pt"))


def test_a_configuration_that_cannot_be_fetched_is_not_taken_for_none(folder: Path):
    def broken(exchange: Exchange) -> bool:
        if exchange.path == "/config.json":
            exchange.answer(500, b"")
        return exchange.path == "/config.json"

    assert refused(folder, broken, values=False) == "the server answers 500 (Internal Server Error), 4 times"


def test_redirects_are_followed_and_do_not_carry_passwords_along(folder: Path):
    with serving(folder) as target:

        def redirect(exchange: Exchange) -> bool:
            exchange.answer(302, b"", {"Location": f"{target.url}/a.safetensors"})
            return exchange.path == "/from"

        with serving(folder, redirect) as server:
            place = server.url.replace("http://", "http://ada:secret@")
            network = read_network(f"{place}/from")
            assert network.name == f"{server.url}/from"
            assert same_values(network, read_network(folder / "a.safetensors"))
            assert all(request["authorization"] == "Basic YWRhOnNlY3JldA==" for request in server.requests)
        assert target.requests
        assert not any("authorization" in request for request in target.requests)


def test_redirects_without_end_are_refused(folder: Path):
    def around(exchange: Exchange) -> bool:
        exchange.answer(302, b"", {"Location": exchange.path})
        return True

    assert refused(folder, around) == "the server redirects more than 8 times"


def test_redirects_to_files_of_this_machine_are_refused(folder: Path):
    def to_file(exchange: Exchange) -> bool:
        exchange.answer(302, b"", {"Location": f"file://{folder}/a.pt"})
        return True

    assert refused(folder, to_file) == "the server redirects from http to file"


def test_missing_files_and_missing_servers_are_named(folder: Path):
    with serving(folder) as server:
        with pytest.raises(CheckpointError, match="no such file"):
            read_network(f"{server.url}/b.pt")
        with pytest.raises(CheckpointError, match="does not list its folders: name a file"):
            read_network(f"{server.url}/runs/")
    with pytest.raises(RemoteError, match="the server refuses connections"):
        read_network(f"{server.url}/a.pt")


def test_what_is_secret_in_an_address_is_not_printed(folder: Path, capsys):
    with serving(folder) as server:
        address = f"{server.url.replace('http://', 'http://ada:pass%40word@')}/a.pt?version=2&X-Amz-Signature=0b1f"
        for wanted in (address, address.replace("a.pt", "b.pt")):
            for more in ([], ["--json"]):
                run(["inspect", *more, wanted])
        asked = [request for request in server.requests if request["path"].startswith("/a.pt")]
    shown = "".join(capsys.readouterr())
    assert f"{server.url}/a.pt?version=2&X-Amz-Signature=..." in shown
    assert not any(secret in shown for secret in ("ada", "pass", "word", "0b1f"))
    assert all(request["path"].endswith("X-Amz-Signature=0b1f") for request in asked)
    assert not any(request["path"] == "/config.json" for request in server.requests)


def run(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
