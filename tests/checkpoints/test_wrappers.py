"""Which network of a checkpoint is read, and what becomes of everything beside it."""

import numpy as np
import pytest
import torch
from torch import nn

from sne.checkpoints import CheckpointError, read_network


def state(scale: float = 1.0, prefix: str = "") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))
    return {prefix + key: value * scale if value.is_floating_point() else value
            for key, value in module.state_dict().items()}  # fmt: skip


def scale_of(content, path="0.weight", **options) -> float:
    """By how much the weights that are read were scaled; each is read once."""
    network = read_network(content, **options)
    assert len(network.layers) == 3
    (name,) = [part.tensor for _, part in network.parts() if part.tensor.endswith(path)]
    return round((network.source.load(name) / state()["0.weight"]).mean().item(), 3)


def reasons(content, **options) -> dict[str, str]:
    return {note.tensor: note.reason for note in read_network(content, **options).notes}


def adam() -> dict:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


BESIDE = {
    "RNG state": {"rng_state": torch.get_rng_state(), "cuda": [torch.get_rng_state()]},
    "losses": {"train_losses": torch.rand(50), "epoch": torch.tensor([3])},
    "class weights": {"class_weights": torch.rand(10), "normaliser": {"mean": torch.rand(3), "std": torch.rand(3)}},
    "NumPy": {"best": np.float64(0.5), "rng": ("MT19937", np.arange(624, dtype=np.uint32), 1)},
    "optimiser under any name": {"large_args": adam(), "both": {"a": adam(), "b": [adam()]}},
    "optax": {"m": {"0": {"mu": torch.rand(3, 3), "nu": torch.rand(3, 3), "count": 1}}},
}


@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("key", ["state_dict", "net", "some_unusual_key"])
def test_what_stands_beside_a_state_dict_is_noted(case, key):
    assert scale_of({**BESIDE[case], key: state()}) == 1
    found = reasons({**BESIDE[case], key: state()})
    assert BESIDE[case].keys() <= found.keys()
    assert key not in found
    if case.startswith("opt"):
        assert all("state of the training" in found[name] for name in BESIDE[case])


def test_names_with_the_letters_of_arg_or_lr_are_networks():
    network = read_network({"target.0.weight": torch.ones(4, 4), "large.weight": torch.ones(4, 4),
                            "clr": {"fc.weight": torch.ones(2, 4)}})  # fmt: skip
    assert {layer.name for layer in network.layers} == {"target.0", "large", "clr.fc"}


COPIES = {
    "EMA": ({"model": state(), "ema": state(2)}, "model", "ema"),
    "timm": ({"state_dict": state(), "state_dict_ema": state(2), "optimizer": adam()}, "state_dict", "state_dict_ema"),
    "EMA in a wrapper": ({"net": state(), "ema": {"module": state(2, "module."), "decay": 0.9}}, "net", "ema"),
    "teacher first": (
        {"teacher": state(2, "backbone."), "student": state(1, "module.backbone.")},
        "student",
        "teacher",
    ),
    "target": ({"actor": state(), "actor_target": state(2), "critic": state(3)}, "actor", "actor_target"),
    "GAN": ({"netD": state(2), "netG": state(), "optG": adam()}, "netG", "netD"),
    "G and D": ({"D": state(2), "G": state(), "G_ema": state(3)}, "G", "D"),
    "flat EMA": ({**state(), **state(2, "ema.")}, "the network around it", "ema"),
    "flat teacher": ({**state(2, "teacher."), **state(1, "student.module.")}, "student", "teacher"),
    "MoCo": ({"state_dict": {**state(1, "encoder_q."), **state(2, "encoder_k.")}}, "encoder_q", "encoder_k"),
    "flat GAN": ({**state(2, "discriminator."), **state(1, "generator.")}, "generator", "discriminator"),
    "below a prefix": ({**state(1, "a.online_net."), **state(2, "a.target_net.")}, "a.online_net", "a.target_net"),
}


@pytest.mark.parametrize("case", COPIES)
def test_one_network_is_read_and_another_can_be_selected(case):
    content, main, other = COPIES[case]
    assert scale_of(content) == 1
    found = reasons(content)
    assert any(main in reason and f"select {other!r} to read it" in reason for reason in found.values())
    assert scale_of(content, select=other) == 2


def test_moving_averages_without_dots_and_lists_of_shadow_parameters():
    inner = state(1, "diffusion_model.")
    average = {f"model_ema.{name.replace('.', '')}": value * 2 for name, value in inner.items()}
    latent = {
        **{f"model.{name}": value for name, value in inner.items()},
        **average,
        "model_ema.decay": torch.tensor(0.9),
    }
    assert scale_of(latent) == 1
    shadows = [value for value in state(2).values() if value.is_floating_point()]
    content = {"model": state(), "ema": {"decay": 0.9, "shadow_params": shadows}}
    assert scale_of(content) == 1
    assert "a copy of 'model'" in reasons(content)["ema"]


def test_a_teacher_of_another_architecture_is_no_copy():
    network = read_network({"student.fc.weight": torch.ones(3, 4), "student.out.weight": torch.ones(2, 3),
                            "teacher.fc.weight": torch.ones(9, 4), "teacher.out.weight": torch.ones(2, 9)})  # fmt: skip
    assert len(network.layers) == 4


def test_key_and_query_layers_are_no_copies():
    names = [f"layer.{n}.{name}.weight" for n in range(2) for name in ("query", "key", "value", "target", "ref")]
    assert len(read_network({name: torch.ones(4, 4) for name in names}).layers) == 10


def test_parts_of_one_network_are_joined_and_said_to_be():
    content = {"encoder": {"0.weight": torch.ones(4, 3)}, "decoder": {"0.weight": torch.ones(3, 4)}}
    assert [layer.name for layer in read_network(content).layers] == ["encoder.0", "decoder.0"]
    assert "one of 2 state dicts" in reasons(content)["encoder"]
    assert [layer.name for layer in read_network(content, select="decoder").layers] == ["0"]


def test_networks_of_one_layout_without_a_main_one():
    content = {"netG_A": state(), "netG_B": state(2), "netD_A": state(3)}
    assert scale_of(content) == 1
    assert "another network, beside 'netG_A'" in reasons(content)["netG_B"]
    assert scale_of(content, select="netG_B") == 2


def test_nested_modules_are_one_network():
    """Trees of modules, as JAX programs keep them, have no state dict with dotted names."""
    layer, other = ({"kernel": torch.ones(4, 4), "bias": torch.ones(4)} for _ in range(2))
    content = {"params": {"Dense_0": layer, "Dense_1": other}, "step": 3, "opt_state": [{"mu": layer, "nu": layer}]}
    assert {layer.name for layer in read_network(content).layers} == {"Dense_0", "Dense_1"}
    pairs = [(torch.ones(4, 3), torch.ones(4)), (torch.ones(2, 4), torch.ones(2))]
    assert {part.tensor for _, part in read_network({"layers": pairs}).parts()} >= {"layers.0.0", "layers.1.0"}


def test_lists():
    assert scale_of({"state_dict": [state()], "acc": torch.tensor([1])}) == 1
    assert scale_of({"wrap": ([state()], {"epoch": 1})}) == 1
    for content, names in (({"state_dict": [state(), state(2)]}, "state_dict.0, state_dict.1"),
                           ({"models": (state(), state(2))}, "models.0, models.1")):  # fmt: skip
        first = names.split(",")[0]
        with pytest.raises(CheckpointError, match=f"a list of 2 networks: {names}; select='{first}' reads the first"):
            read_network(content)
        assert scale_of(content, select=names.split(", ")[1]) == 2
    parameters = {"parameters": list(state().values())}
    assert {part.tensor for _, part in read_network(parameters).parts()} >= {"parameters.0", "parameters.7"}


def test_lists_in_files(tmp_path):
    for content in ([state()], (state(), {"epoch": 1})):
        torch.save(content, tmp_path / "a.pt")
        assert scale_of(tmp_path / "a.pt") == 1
    torch.save([state(), state(2)], tmp_path / "a.pt")
    assert scale_of(tmp_path / "a.pt", select="1") == 2


def test_numpy_arrays_are_weights():
    arrays = {name: value.numpy() for name, value in state().items()}
    assert scale_of({"model": arrays}) == 1
    arrays["0.weight"] = arrays["0.weight"].astype(">f4")[::-1][::-1]
    arrays["0.bias"].flags.writeable = False
    assert scale_of(arrays) == 1
    assert "not a tensor" in reasons({**arrays, "names": np.array(["a", "b"])})["names"]


def test_an_unknown_selection_lists_what_there_is():
    with pytest.raises(CheckpointError, match=r"no network is named 'nothing'; to be selected: 'model', 'ema'"):
        read_network({"model": {"weight": torch.ones(2, 2)}, "ema": {"weight": torch.ones(2, 2)}, "optim": adam()},
                     select="nothing")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"no network is named 'x'; to be selected: 'a', 'b'"):
        read_network(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}), select="x")


def test_an_empty_selection_is_refused():
    with pytest.raises(CheckpointError, match=r"dict: the name of the network to select is empty"):
        read_network({"model": {"weight": torch.ones(2, 2)}}, select=" ")


def test_zero_3_placeholders_name_the_command(tmp_path):
    empty = {name: torch.empty(0) for name in state()} | {"1.running_mean": torch.ones(8)}
    content = {"module": empty, "param_shapes": [{}], "ds_version": "0.12"}
    with pytest.raises(CheckpointError, match=r"placeholders.* python zero_to_fp32.py"):
        read_network(content)
    states = {"optimizer_state_dict": {"fp32_flat_groups": [torch.ones(9)], "zero_stage": 3}, "ds_version": "0.12"}
    with pytest.raises(CheckpointError, match=r"no network .* python zero_to_fp32.py"):
        read_network(states)
    kept = {"fc.weight": torch.zeros(0, 5), "fc.bias": torch.zeros(0), "out.weight": torch.ones(4, 5)}
    assert [layer.name for layer in read_network(kept).layers] == ["out"]


def test_flat_parameters_are_named():
    flat = {"_fsdp_wrapped_module._flat_param": torch.ones(144), "layers.0._flat_param": torch.ones(200)}
    with pytest.raises(CheckpointError, match=r"flat parameter of FSDP.*FULL_STATE_DICT"):
        read_network(flat)
    assert "flat parameter" in reasons({**flat, "head.weight": torch.ones(2, 3)})["layers.0._flat_param"]


def test_a_file_without_weights_is_an_error():
    for content, match in (
        ({"ids": torch.arange(5)}, "none of its 1 tensors is a weight.*a table of integers"),
        (adam(), "state of a training and no network"),
        ({"optimizer": adam(), "epoch": 3}, "state of a training and no network"),
        ({"step": torch.tensor(3)}, "none of its 1 tensors"),
    ):
        with pytest.raises(CheckpointError, match=match):
            read_network(content)
