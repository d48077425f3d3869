"""`sne check` as a user sees it."""

from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    good = {"fc.weight": torch.rand(4, 3, generator=generator), "fc.bias": torch.rand(4, generator=generator)}
    save_file(good, tmp_path / "good.safetensors")
    save_file(good | {"fc.weight": torch.full((4, 3), torch.nan)}, tmp_path / "bad.safetensors")
    return tmp_path


def test_a_line_per_finding_and_a_verdict_per_file(files, sne_command):
    result = sne_command("check", files / "bad.safetensors", files / "good.safetensors")
    assert result.status == 1
    lines = result.out.splitlines()
    assert lines[0] == f"{files}/bad.safetensors: error: fc.weight: 12 NaN of 12 values [nonfinite]"
    assert lines[1] == f"{files}/bad.safetensors: broken (1 error)"
    assert lines[2] == f"{files}/good.safetensors: good (nothing found)"
    assert lines[-1].startswith("  nonfinite: Every output")
    assert result.err == "sne: 1 file broken, 1 file good\n"


def test_good_files_have_status_0(files, sne_command):
    result = sne_command("check", files / "good.safetensors")
    assert (result.status, result.err) == (0, "")
    assert len(result.out.splitlines()) == 1


def test_json(files, sne_command):
    result = sne_command("check", files, "--json")
    first, second = result.json()
    assert (first["file"], first["verdict"]) == (f"{files}/bad.safetensors", "broken")
    assert first["tensors"][0]["num_nan"] == 12 and first["tensors"][0]["kurtosis"] is None
    assert (second["verdict"], second["findings"], second["num_weights"]) == ("good", [], 16)


def test_files_that_cannot_be_read(files, sne_command):
    (files / "cut.safetensors").write_bytes((files / "good.safetensors").read_bytes()[:-9])
    result = sne_command("check", files / "cut.safetensors", files / "good.safetensors")
    assert result.status == 2 and "cut.safetensors" in result.err and "1 of 2 files skipped" in result.err
    assert sne_command("check", files).status == 1  # something is broken, which matters more


def test_junit(files, sne_command, tmp_path):
    (files / "cut.safetensors").write_bytes(b"no checkpoint")
    sne_command("check", files / "*.safetensors", "--junit", tmp_path / "out" / "health.xml")
    root = ElementTree.parse(tmp_path / "out" / "health.xml").getroot()
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "1"}
    bad, good, cut = root.iter("testcase")
    assert bad.attrib["name"] == f"{files}/bad.safetensors"
    failure = bad.find("failure")
    assert failure is not None and failure.text and failure.text.startswith("error: fc.weight: 12 NaN of 12 values")
    assert len(good) == 0
    error = cut.find("error")
    assert error is not None and "cut.safetensors" in error.attrib["message"]


def test_junit_of_names_that_xml_cannot_hold(tmp_path, sne_command):
    state = {"fc\x1b<&.weight": torch.full((2, 2), torch.nan)}
    torch.save(state, tmp_path / "a.pt")
    result = sne_command("check", tmp_path / "a.pt", "--junit", tmp_path / "a.xml")
    assert "\x1b" not in result.out
    (failure,) = ElementTree.parse(tmp_path / "a.xml").getroot().iter("failure")
    assert failure.text and failure.text.startswith("error: fc\ufffd<&.weight: 4 NaN")


def test_severity(files, sne_command):
    assert "--severity is 'fatal'" in sne_command("check", files, "--severity", "fatal").err
    assert sne_command("check", files, "--severity", "error").out.count("error: ") == 1


def test_the_verdict_of_an_adapter_says_that_it_is_one(tmp_path, sne_command):
    generator = torch.Generator().manual_seed(0)
    factors = {
        f"base_model.model.q.lora_{name}.weight": torch.randn(shape, generator=generator)
        for name, shape in (("A", (4, 16)), ("B", (16, 4)))
    }
    save_file(factors, tmp_path / "alone.safetensors")
    save_file(
        factors | {"base_model.model.q.weight": torch.randn(16, 16, generator=generator)}, tmp_path / "with.safetensors"
    )
    result = sne_command("check", tmp_path / "alone.safetensors", "--severity", "warning")
    assert result.out == f"{tmp_path}/alone.safetensors: good, as an adapter without its base (1 remark)\n"
    result = sne_command("check", tmp_path, "--json")
    alone, beside = result.json()
    assert [(one["is_adapter"], one["findings"][0]["code"]) for one in (alone, beside)] == [
        (True, "adapter"), (False, "unmerged-adapter"),
    ]  # fmt: skip
    assert alone["findings"][0]["message"] == "an adapter (LoRA, rank 4)"
