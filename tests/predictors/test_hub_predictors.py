"""Predictors on the Hub: its own client against an imitation of its routes."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from remote_servers import HubImitation, serving

from sne.errors import PredictorError
from sne.predictors import Predictor


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served", HubImitation(token="secret")) as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


def test_what_is_pushed_is_what_is_fetched(hub):
    predictor = Predictor.from_pretrained()
    address = predictor.push_to_hub("ada/reader", half=True)
    assert address.startswith(f"{hub.url}/ada/reader/commit/")
    pushed = hub.root / "ada" / "reader"
    names = {path.name for path in pushed.iterdir()}
    assert names == {"README.md", "config.json", "metrics.json", "model.safetensors"}
    card = (pushed / "README.md").read_text()
    assert "hf://ada/reader" in card and "| test_accuracy | 0." in card
    (pushed / "notes.txt").write_text("not fetched")
    hub.forget()
    assert Predictor.from_pretrained("hf://ada/reader").digest() == Predictor.load(pushed).digest()
    assert not any("notes.txt" in request["path"] for request in hub.requests)
    before = hub.sent
    Predictor.from_pretrained("hf://ada/reader")
    assert hub.sent - before < 10_000, "kept files are not fetched again"


def test_a_card_of_the_owner_is_left_as_it_is(hub):
    (hub.root / "ada" / "reader").mkdir(parents=True)
    (hub.root / "ada" / "reader" / "README.md").write_text("my words")
    Predictor.from_pretrained().push_to_hub("ada/reader", half=True)
    assert (hub.root / "ada" / "reader" / "README.md").read_text() == "my words"


def test_what_is_no_predictor_is_refused(hub, monkeypatch):
    (hub.root / "ada" / "other").mkdir(parents=True)
    (hub.root / "ada" / "other" / "model.bin").write_bytes(b"1")
    for address, reason in [
        ("hf://ada/other", "hf://ada/other: not a predictor, config.json is missing"),
        ("hf://ada/missing", "hf://ada/missing: cannot be fetched: 404"),
        ("hf://ada/other/model.bin", "names a file, expected a repository"),
    ]:
        with pytest.raises(PredictorError, match=reason) as raised:
            Predictor.from_pretrained(address)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(PredictorError, match=r"ada/other: cannot be pushed: .*401"):
        Predictor.from_pretrained().push_to_hub("ada/other")


def test_plain_names_make_no_request(hub):
    with pytest.raises(PredictorError, match="no such predictor folder"):
        Predictor.from_pretrained("ada/reader")
    assert hub.requests == []
