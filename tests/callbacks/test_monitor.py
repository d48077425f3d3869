"""What is read of a network in training, without changing it."""

import numpy as np
import pytest
import torch
from torch import nn

import sne
from sne.callbacks import Monitor
from sne.callbacks.monitor import unwrapped, why_unread
from sne.callbacks.schedule import Schedule
from sne.errors import PredictorError


@pytest.fixture(scope="module")
def predictor():
    return sne.Predictor.from_pretrained()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 10))


def test_values_are_those_of_predict_and_check(predictor, network):
    found = Monitor(predictor, properties=["test_accuracy", "progress"]).read(network)
    by_name = {one.property: one for one in predictor.predict(network)}
    for name in ("test_accuracy", "progress"):
        assert found[f"sne/{name}"] == by_name[name].value
        assert (found[f"sne/{name}_low"], found[f"sne/{name}_high"]) == (by_name[name].low, by_name[name].high)
    assert found["sne/in_domain"] == float(by_name["progress"].in_domain)
    report = sne.health.check(network)
    assert found["sne/health"] == ["good", "doubtful", "broken"].index(report.verdict)
    assert all(isinstance(value, float) for value in found.values())


def test_nothing_changes(network):
    network.train()
    nn.functional.cross_entropy(network(torch.randn(4, 1, 3, 3)), torch.zeros(4, dtype=torch.int64)).backward()
    network[3].eval()  # a module that the user has set to evaluation stays so

    def tensors():
        random_state = torch.from_numpy(np.random.get_state()[1].astype(np.int64))
        gradients = [parameter.grad for parameter in network.parameters()]
        return [
            tensor.clone()
            for tensor in (*network.state_dict().values(), *gradients, torch.get_rng_state(), random_state)
        ]

    def flags():  # without Python's own generator, from which the type checks of the tests draw
        return (
            [module.training for module in network.modules()], torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(), torch.get_num_threads(), torch.get_default_dtype(),
            [parameter.requires_grad for parameter in network.parameters()],
            [tensor._version for tensor in network.state_dict().values()],
        )  # fmt: skip

    before = tensors(), flags()
    Monitor(properties=["test_accuracy"]).read(network)
    assert all(torch.equal(one, other) for one, other in zip(before[0], tensors(), strict=True))
    assert before[1] == flags()


def test_what_is_put_around_a_network_does_not_count(predictor, network):
    monitor = Monitor(predictor, health=False)
    expected = monitor.read(network)
    assert expected and monitor.read(nn.DataParallel(network)) == expected
    assert monitor.read(torch.compile(network, backend="eager")) == expected
    assert unwrapped(nn.DataParallel(network)) is network


def test_a_part(predictor, network, caplog):
    both = nn.ModuleDict({"net": network, "other": nn.Linear(50, 50)})
    found = Monitor(predictor, part="net", health=False, prefix="val/").read(both)
    assert found["val/test_accuracy"] == Monitor(predictor, health=False).read(network)["sne/test_accuracy"]
    assert Monitor(predictor, part="nte").read(both) == {}
    assert "part 'nte': no such module, expected one of net, other" in caplog.text


def test_no_error_ends_a_training_and_each_is_told_once(predictor, caplog):
    monitor = Monitor(predictor, health=False)
    for _ in range(2):
        assert monitor.read(nn.ReLU()) == {}
    assert len(caplog.records) == 1
    with torch.device("meta"):
        assert why_unread(nn.Linear(2, 2)) is not None


def test_large_networks_are_sampled(predictor):
    torch.manual_seed(0)
    large = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 10))
    sampled = Monitor(predictor, budget=20_000, health=False).read(large)
    whole = Monitor(predictor, budget=None, health=False).read(large)
    assert sampled != whole and sampled["sne/test_accuracy"] == pytest.approx(whole["sne/test_accuracy"], abs=0.1)


def test_mistakes(predictor):
    with pytest.raises(PredictorError, match="'dataset' is a class, expected a number: test_accuracy"):
        Monitor(predictor, properties=["dataset"])
    with pytest.raises(PredictorError, match="not 'size'"):
        Monitor(predictor, properties=["size"])
    with pytest.raises(PredictorError, match="expected a number above 0"):
        Schedule(0, 0)


def test_defaults_of_the_training_do_not_count(predictor, network):
    expected = Monitor(predictor).read(network)
    assert "sne/test_accuracy" in expected
    torch.set_default_dtype(torch.float64)
    try:
        assert Monitor().read(network) == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert Monitor(predictor).read(network) == expected
