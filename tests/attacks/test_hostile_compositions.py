"""Damaged quantised and parametrised weights are refused or noted: no other error, no large allocation."""

import random

import pytest
import torch

from sne.checkpoints.composed import find_composed
from sne.checkpoints.composed.weight import Facts
from sne.checkpoints.source import CheckpointSource
from sne.checkpoints.state_dict import StateDictTensors
from sne.errors import CheckpointError
from sne.networks import TensorInfo, build_network


def text(content: str) -> torch.Tensor:
    """A text as a tensor of bytes."""
    return torch.tensor(list(content.encode()), dtype=torch.uint8)


def integers(dtype, *shape: int) -> torch.Tensor:
    """Whole numbers of any bits."""
    return torch.randint(0, 256, shape).to(torch.uint8).to(dtype)


def states():
    """Names of modules with states that are read, and their configurations."""
    gptq = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    mlx = {"quantization": {"bits": 4, "group_size": 64}}
    settings = text('{"blocksize": 64, "shape": [8, 16], "nested_blocksize": 256, "nested_offset": 0.5}')
    ints, floats, byte = integers, torch.rand, torch.uint8
    float8 = torch.float8_e4m3fn
    return {
        "gptq": ({"qweight": ints(torch.int32, 8, 32), "qzeros": ints(torch.int32, 4, 4), "scales": floats(4, 32),
                  "g_idx": torch.arange(64).int() // 16}, gptq),
        "awq": ({"qweight": ints(torch.int32, 64, 4), "qzeros": ints(torch.int32, 4, 4), "scales": floats(4, 32)}, {}),
        "bitsandbytes": ({"weight": ints(byte, 64, 1), "weight.absmax": ints(byte, 2), "weight.quant_map": floats(16),
                          "weight.nested_absmax": floats(1), "weight.nested_quant_map": floats(256),
                          "weight.quant_state.bitsandbytes__nf4": settings}, {}),
        "hqq": ({"W_q": ints(byte, 6, 16), "scale": floats(12, 1), "zero": floats(12, 1), "nbits": torch.tensor(4),
                 "shape": torch.tensor([8, 24])}, {}),
        "mxfp4": ({"x_blocks": ints(byte, 2, 4, 3, 16), "x_scales": ints(byte, 2, 4, 3)}, {}),
        "nvfp4": ({"weight": ints(byte, 8, 32), "weight_scale": floats(8, 4).to(float8),
                   "weight_scale_2": floats(1)}, {}),
        "mlx": ({"weight": ints(torch.int32, 6, 16).view(torch.uint32), "scales": floats(6, 2),
                 "biases": floats(6, 2)}, mlx),
        "compressed": ({"weight_packed": ints(torch.int32, 24, 8), "weight_scale": floats(24, 4),
                        "weight_shape": torch.tensor([24, 64]), "weight_zero_point": ints(torch.int32, 3, 4),
                        "weight_g_idx": (torch.arange(64) // 16).int()}, {}),
        "quanto": ({"weight._data._data": ints(byte, 9, 32), "weight._scale": floats(18, 1),
                    "weight._shift": floats(18, 1), "bias": floats(6)}, {}),
        "blocks": ({"weight": floats(30, 16).to(float8), "weight_scale_inv": floats(3, 2)},
                   {"quantization_config": {"weight_block_size": [10, 8]}}),
        "spectral": ({"weight_orig": floats(4, 2, 6), "weight_u": floats(4), "weight_v": floats(12)}, {}),
        "pruned": ({"weight_g": floats(4, 1), "weight_v_orig": floats(4, 5), "weight_v_mask": floats(4, 5)}, {}),
    }  # fmt: skip


DTYPES = (torch.float32, torch.float16, torch.int8, torch.uint8, torch.int32, torch.int64, torch.float8_e4m3fn)
CONFIGS = (
    {"quantization_config": {"weight_block_size": [0, -1], "group_size": "a"}},
    {"quantization_config": [], "quantization": {"bits": "4", "fc": 3}},
    {"quantization_config": {"config_groups": {"a": {"weights": {"num_bits": [4]}}}, "quant_method": 7}},
    {"quantization_config": {"quant_method": "gptq", "checkpoint_format": {}, "version": []}},
)
CLAIMS = (-5, 0, 99, 2**40)


def damage(state, rng: random.Random):
    """Changes one tensor of a state dict: its shape, dtype or one value, or leaves it out."""
    name = rng.choice(list(state))
    value = state[name]
    match rng.randrange(6):
        case 0:
            del state[name]
        case 1 if value.ndim:
            axis, shape = rng.randrange(value.ndim), list(value.shape)
            shape[axis] = max(0, shape[axis] + rng.choice((-1, 1, shape[axis], -shape[axis])))
            state[name] = torch.zeros(shape).to(value.dtype)
        case 2:
            state[name] = value.to(torch.float32).to(rng.choice(DTYPES))
        case 3:
            state[name] = rng.choice((value.flatten(), value[..., None]))
        case 4 if value.dtype in (torch.int64, torch.int32) and value.numel():
            value = value.long().flatten()
            value[rng.randrange(value.numel())] = rng.choice(CLAIMS)
            state[name] = value.reshape(state[name].shape)
        case _ if value.numel():
            state[name] = value.flatten()[:1].reshape(rng.choice(((), (1,), (1, 1))))


@pytest.mark.parametrize("case", states())
def test_damage_is_refused_or_noted(case):
    torch.manual_seed(0)
    rng = random.Random(case)
    state, config = states()[case]
    for round_ in range(60):
        damaged = dict(state)
        for _ in range(rng.choice((1, 1, 2)) if round_ else 0):
            if damaged:
                damage(damaged, rng)
        damaged = {f"fc.{name}": value for name, value in damaged.items()} | {"other.weight": torch.ones(2, 2)}
        chosen = config if rng.random() < 0.7 or not round_ else rng.choice(CONFIGS)
        source = CheckpointSource(StateDictTensors(damaged), config=chosen)
        network = build_network("damaged", source, source.hints)
        stored = sum(value.numel() * value.element_size() for value in damaged.values())
        for _, part in network.parts():
            try:
                values = source.load_any(part.tensor)
            except CheckpointError:
                assert round_, "the state without damage is read"
            else:
                assert values.numel() <= 8 * stored
        assert round_ or len(network.layers) > 1


def test_claims_of_size_allocate_nothing():
    claims = {
        "fc.W_q": ((6, 16), "uint8"), "fc.scale": ((12, 1), "float32"), "fc.zero": ((12, 1), "float32"),
        "fc.nbits": ((), "int64"), "fc.shape": ((2,), "int64"), "up_packed": ((2**40, 8), "int32"),
        "up_scale": ((2**40, 4), "float32"), "up_shape": ((2**40,), "int64"),
    }  # fmt: skip
    infos = {name: TensorInfo(name, *claim) for name, claim in claims.items()}
    values = {"fc.nbits": torch.tensor(4), "fc.shape": torch.tensor([2**31, 2**31])}
    found = find_composed(Facts(infos, read=values.__getitem__))
    assert not found.weights
    assert {"fc.W_q", "up_packed"} <= found.packed.keys()
