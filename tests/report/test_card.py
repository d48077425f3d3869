"""Cards: what they say, that states look different, and that no name in a file does anything."""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from report.report_checkpoints import classifier, trained_classifier, transformer_state
from report.report_reader import HOSTILE, Reader, assert_harmless
from safetensors.torch import save_file

import sne
from sne.errors import CheckpointError
from sne.networks.adapters import FACTOR
from sne.predictors import Prediction, Predictor
from sne.report.facts import find_facts
from sne.report.judgement import State
from sne.report.model_card import code, text


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained()


def broken_state() -> dict[str, torch.Tensor]:
    state = classifier().state_dict()
    state["2.weight"][3, 4, 1, 1] = float("nan")
    return state


def test_checkpoints_of_one_run_look_different(predictor):
    """The verdict of an untrained, a half-trained, a trained and a broken network, by what they are."""
    cards = {steps: sne.card(trained_classifier(steps), predictor=predictor) for steps in (0, 15, 100)}
    cards[-1] = sne.card(broken_state(), predictor=predictor)
    states = {steps: card.contents.judgement.state for steps, card in cards.items()}
    assert list(states.values()) == [State.UNTRAINED, State.MIDDLING, State.GOOD, State.BROKEN]
    for card in list(cards.values())[1:3]:  # no word of praise or blame for a predicted value
        judgement = card.contents.judgement
        assert re.fullmatch(r"Nothing wrong found; predicted test accuracy 0\.\d\d", judgement.headline)
        assert re.search(r", above \d+% of the networks that the predictor has learned from\.$", judgement.reasons[0])
    signs = {card.html().partition('class="sign"')[2].partition("</svg>")[0] for card in cards.values()}
    banners = {card.html().partition('class="banner ')[2].partition('"')[0] for card in cards.values()}
    assert len(signs) == len(banners) == 4


def test_a_broken_network_is_said_to_be_broken(predictor):
    card = sne.card(broken_state(), predictor=predictor)
    contents = card.contents
    assert contents.judgement.state is State.BROKEN and "2.weight" in contents.judgement.reasons[0]
    page = card.html()
    assert 'class="banner bad"' in page and 'class="mark-bad"' in page
    assert contents.is_guess and contents.influence is None


def test_a_network_outside_the_known_domain_gets_no_value_that_looks_like_a_known_one(predictor):
    card = sne.card(transformer_state(4), predictor=predictor)
    assert card.contents.predictions[0].in_domain is False and card.contents.is_guess
    page = card.html()
    assert (
        'class="tick"' not in page and "No prediction" in page and "<details><summary>What the predictor would" in page
    )
    value = f"{card.contents.predictions[0].value:.3g}"
    assert f"({value})" in page and f">{value}<" not in page
    assert value not in card.markdown()
    assert card.contents.influence is None


def test_values_of_a_known_network_stand_with_their_intervals(predictor):
    card = sne.card(trained_classifier(100), predictor=predictor)
    prediction = card.contents.predictions[0]
    assert prediction.in_domain
    words = Reader(card.html()).text
    assert f"{prediction.value:.3g}" in words and f"{prediction.low:.3g} to {prediction.high:.3g}" in words
    assert "No prediction" not in words


def test_a_layer_that_was_not_trained_makes_a_network_doubtful(predictor):
    """Whether the health calls the layer or the network untrained: the prediction says that much was learned."""
    net = copy.deepcopy(trained_classifier(100))
    torch.manual_seed(1)
    net[4].reset_parameters()
    card = sne.card(net, predictor=predictor)
    assert card.contents.judgement.state is State.DOUBTFUL and len(card.contents.judgement.reasons) == 2
    assert 'class="banner doubt"' in card.html() and "untrained" in card.html()


def test_findings_of_layers_are_marked_where_they_are(predictor):
    state = {f"{n}.weight": torch.randn(64, 64) for n in range(4)}
    state["2.weight"][:] = 0.0
    page = sne.card(state, predictor=None).html()
    assert page.count('class="mark-bad"') == 1 and "A weight that is zero everywhere" in page


def test_without_a_predictor_nothing_is_predicted():
    card = sne.card(trained_classifier(100), predictor=None)
    assert card.contents.predictions == () and card.contents.judgement.state is State.HEALTHY
    assert "no predictor was asked" in card.html() and "No property was predicted." in card.html()


def card_with_names(name: str, predictor: Predictor):
    """A card of a broken network, whose tensors have a name in all places of the card."""
    state = {name: torch.randn(8, 4), f"{name}.weight": torch.randn(4, 8), f"{name}.bias": torch.zeros(4)}
    state |= {f"{name}.steps": torch.tensor(3), f"{name}.fc.weight": torch.full((3, 4), torch.nan)}
    return sne.card(state, predictor=predictor)


@pytest.fixture(scope="module")
def plain(predictor) -> str:
    return card_with_names("a", predictor).html()


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_tensors_do_nothing(hostile, plain, predictor):
    card = card_with_names(hostile[:600], predictor)  # files with longer names are refused
    page, markdown = card.html(), card.markdown()
    found = assert_harmless(page)
    assert set(found.tags) <= set(assert_harmless(plain).tags)
    assert len(page) < 10 * len(plain)
    for sign in ("\x00", "\x1b", "\u202e", "\u2066", "\ud800"):
        assert sign not in page and sign not in markdown
    page.encode()
    assert json.loads(json.dumps(card.to_json()))["state"] == "broken"
    assert "\n<" not in markdown and "| <" not in markdown


def test_names_of_files_do_nothing(predictor, tmp_path):
    path = tmp_path / "<script>alert(1)<br>\u202e`|x`.safetensors"
    save_file({"fc.weight": torch.randn(3, 4)}, path)
    card = sne.card(path, predictor=predictor)
    assert "script" not in assert_harmless(card.html()).tags
    assert "<script" not in card.markdown().replace("\\<script", "")


def test_markdown_front_matter_is_yaml(predictor, tmp_path):
    yaml = pytest.importorskip("yaml")
    save_file(classifier().state_dict(), tmp_path / "a.safetensors")
    markdown = sne.card(tmp_path / "a.safetensors", predictor=predictor).markdown()
    start, front, body = markdown.split("---\n", 2)
    assert not start and yaml.safe_load(front) == {"tags": ["sne-card", "safetensors"]}
    assert body.startswith("# a.safetensors\n") and "More Information Needed" not in markdown


def test_names_in_markdown_stay_in_their_cell():
    assert code("a|b") == "`a¦b`" and code("`") == "`` ` ``" and code("``a") == "``` ``a ```"
    assert text("[a](javascript:1) <img> # x") == "\\[a\\](javascript:1) \\<img\\> \\# x"


def test_the_card_of_a_file_names_format_and_ties(predictor, tmp_path):
    state = transformer_state(2)
    torch.save(state | {"lm_head.weight": state["wte.weight"], "steps": torch.tensor(1)}, tmp_path / "a.pt")
    contents = sne.card(tmp_path / "a.pt", predictor=None).contents
    assert contents.facts.format == "torch" and contents.facts.num_bytes == (tmp_path / "a.pt").stat().st_size
    assert contents.facts.ties == (("lm_head.weight", "wte.weight"),)
    assert [group.names for group in contents.facts.set_aside] == [("steps",)]
    assert contents.unpredicted and not contents.predictions


def test_a_new_head_lowers_the_verdict_and_is_a_caution_beside_the_prediction(predictor, monkeypatch):
    network = copy.deepcopy(trained_classifier(100))
    torch.manual_seed(0)
    network[-1].reset_parameters()
    predicted = Prediction("net", "test_accuracy", 0.6, low=0.5, high=0.7, in_domain=True)
    monkeypatch.setattr("sne.report.contents._predict", lambda *given: ((predicted,), None))
    card = sne.card(network, predictor=predictor)
    assert card.contents.judgement.state is State.DOUBTFUL
    assert any("the last layer looks untrained" in reason for reason in card.contents.judgement.reasons)
    name = str(len(network) - 1)
    assert card.to_json()["doubts"] == [f"the last layer ({name}) looks untrained"]
    assert f"<b>Caution: </b>the last layer ({name}) looks untrained." in card.html()
    assert f"Caution: the last layer ({name}) looks untrained." in card.markdown()


def test_the_card_of_a_folder_is_named_by_it(predictor, tmp_path, monkeypatch):
    folder = tmp_path / "digits-classifier"
    folder.mkdir()
    save_file(classifier().state_dict(), folder / "model.safetensors")
    (folder / "optimizer.pt").write_bytes(b"\x80\x02}.")
    card = sne.card(folder, predictor=predictor)
    assert card.markdown().split("---\n")[2].startswith("# digits-classifier\n")
    assert "<h1>digits-classifier</h1>" in card.html()
    assert card.contents.facts.format == "safetensors, model.safetensors"
    assert card.contents.facts.num_bytes == (folder / "model.safetensors").stat().st_size
    assert [group.names for group in card.contents.facts.unread] == [("optimizer.pt",)]
    assert "Not read: `optimizer.pt`: state of the training, not a weight" in card.markdown()
    monkeypatch.chdir(folder)
    assert "<h1>digits-classifier</h1>" in sne.card(".", predictor=None).html()


def test_the_card_of_an_adapter_says_once_what_it_is(predictor, tmp_path):
    shapes = {"A": (4, 32), "B": (32, 4)}
    save_file(
        {f"encoder.query.lora_{name}.weight": torch.randn(shape) for name, shape in shapes.items()},
        tmp_path / "adapter_model.safetensors",
    )
    card = sne.card(tmp_path, predictor=predictor)
    for page in (card.html(), card.markdown()):
        assert "An adapter is no whole network: it is judged alone" in page
        assert page.count("an adapter (LoRA, rank 4)") == 1 and "known domain" not in page
        assert "he file is an adapter, and no whole network" in page
    facts = card.contents.facts
    assert not facts.set_aside and not facts.unread and not facts.doubts
    assert "<dt>tensors set aside</dt><dd>none</dd>" in card.html()


def test_a_card_keeps_notes_on_adapters_that_no_finding_repeats(tmp_path):
    """What is said of the network by its health is left out; an adapter beside it, and other tensors, are not."""
    state = {"q.base_layer.weight": torch.randn(8, 8), "q.lora_A.weight": torch.randn(2, 8)}
    state |= {"q.lora_B.weight": torch.randn(8, 2), "v.weight": torch.randn(8, 8), "v.hada_w1_a": torch.randn(8, 2)}
    save_file(state, tmp_path / "model.safetensors")
    save_file({"x.lora_A.weight": torch.randn(2, 8)}, tmp_path / "adapter_model.safetensors")
    facts = find_facts(sne.read_network(tmp_path))
    assert [(group.reason, group.names) for group in facts.unread] == [
        ("an adapter beside the network; not applied", ("adapter_model.safetensors",))
    ]
    assert [(group.reason, group.names) for group in facts.doubts] == [(FACTOR, ("v.hada_w1_a",))]
    assert not facts.set_aside


def test_the_card_of_a_network_with_nan_says_why_nothing_is_predicted(predictor):
    state = classifier().state_dict()
    name = next(iter(state))
    state[name] = state[name].index_fill(0, torch.tensor([0]), torch.nan)
    card = sne.card(state, predictor=predictor)
    left_out = f"layers were left out for NaN or infinite values in {name}"
    why = card.contents.why_guess
    assert why == card.to_json()["why_guesses"] and why.startswith(f"the network is broken; {left_out}")
    assert (
        f"he network is broken; {left_out}" in card.html() and f"the network is broken; {left_out}" in card.markdown()
    )
    assert f"- Caution: {left_out}" in sne.card(state, predictor=None).markdown()
    assert "Which layers the predicted" not in card.html()


def test_relatives_come_from_an_index(predictor, tmp_path):
    pytest.importorskip("lancedb")
    from sne.provenance.index import Index

    for n in range(3):
        save_file(classifier(n).state_dict(), tmp_path / f"{n}.safetensors")
    save_file({k: v * (1 + 1e-3 * torch.randn_like(v)) for k, v in classifier(1).state_dict().items()},
              tmp_path / "tuned.safetensors")  # fmt: skip
    index = Index.open_or_create(tmp_path / "index", predictor)
    index.add([str(path) for path in sorted(tmp_path.glob("?.safetensors"))], predictor, errors=lambda *_: None)
    card = sne.card(tmp_path / "tuned.safetensors", predictor=None, index=tmp_path / "index")
    assert card.contents.relatives is not None
    assert [Path(hit.path).name for hit in card.contents.relatives.hits] == ["1.safetensors"]
    assert "1.safetensors" in card.html() and "1.safetensors" in card.markdown()


def test_what_holds_no_network_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError):
        sne.card(tmp_path / "a.pt")


def test_a_card_of_many_layers_stays_small():
    layers = {f"layers.{n}.weight": torch.zeros(n % 7 + 2, n % 5 + 2) for n in range(700)}
    page = sne.card(layers, predictor=None).html()
    assert len(page) < 300_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_chromium_shows_the_card_and_runs_nothing(predictor, tmp_path):
    state = broken_state() | {HOSTILE[0]: torch.randn(4, 4), HOSTILE[1]: torch.randn(4, 4)}
    sne.card(state, predictor=predictor).write(tmp_path / "card.html")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=1000",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "card.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<strong>Broken</strong>" in done.stdout and "<script" not in done.stdout
    assert "Content Security Policy" not in done.stderr
