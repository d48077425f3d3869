"""Quantised weights are read with the values that the network computes with, or noted as packed and not read."""

import json
import math

import pytest
import torch
from oracles.packing import pack_awq, pack_dense, pack_far, pack_gaps
from safetensors.torch import save_file

from sne.checkpoints import read_network
from sne.networks import Network

FLOAT4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
FLOAT4 += [-value for value in FLOAT4]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def read(state, folder, config=None, metadata=None) -> Network:
    """Saves a state dict and another layer with a configuration, and reads the network."""
    state = {"other.weight": torch.ones(2, 2), **state}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors", metadata)
    for name, content in (config or {}).items():
        (folder / name).write_text(json.dumps(content))
    return read_network(folder)


def assert_only(network: Network, **expected):
    """Checks that the parts of a network are the expected weights, named by module, and nothing else."""
    parts = {part.tensor: network.source.load(part.tensor) for _, part in network.parts()}
    assert set(parts) - {"other.weight"} == {f"{module}.weight" for module in expected}
    for module, values in expected.items():
        torch.testing.assert_close(parts[f"{module}.weight"].float(), values.float())


def assert_packed(network: Network, word: str, *names: str):
    """Checks that tensors are noted as not read, and that nothing of them is among the parts."""
    notes = {note.tensor: note.reason for note in network.notes}
    assert all(word in notes[name] and "not read" in notes[name] for name in names)
    assert not {part.tensor for _, part in network.parts()} & set(names)


def grouped(numbers, zeros, scales, group):
    """(number - zero) * scale by a loop; numbers [out, in], zeros and scales [groups, out], group of each input."""
    values = torch.empty(numbers.shape)
    for o in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            g = group[i]
            values[o, i] = (float(numbers[o, i]) - float(zeros[g, o])) * float(scales[g, o])
    return values


def gptq(bits, *, offset, with_groups=True, num_in=64, num_out=32, groups=4):
    """A state dict of GPTQ and its true weight."""
    numbers = torch.randint(0, 2**bits, (num_out, num_in))
    zeros = torch.randint(offset, 2**bits - 1 + offset, (groups, num_out))
    scales = torch.rand(groups, num_out).half()
    group = torch.randint(0, groups, (num_in,)) if with_groups else torch.arange(num_in) // (num_in // groups)
    state = {
        "fc.qweight": pack_dense(numbers, bits).t(), "fc.qzeros": pack_dense(zeros - offset, bits),
        "fc.scales": scales,
    }  # fmt: skip
    if with_groups:
        state["fc.g_idx"] = group.int()
    return state, grouped(numbers, zeros, scales, group.tolist())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("with_groups", [True, False])
def test_gptq(bits, with_groups, tmp_path):
    state, expected = gptq(bits, offset=1, with_groups=with_groups)
    config = {"config.json": {"quantization_config": {"quant_method": "gptq", "bits": bits}}}
    assert_only(read(state, tmp_path, config), fc=expected)


def test_gptq_format_two_and_its_own_configuration_file(tmp_path):
    state, expected = gptq(4, offset=0)
    config = {"quantize_config.json": {"bits": 4, "checkpoint_format": "gptq_v2"}}
    assert_only(read(state, tmp_path, config), fc=expected)


@pytest.mark.parametrize("offset", [0, 1])
def test_symmetric_gptq_shows_its_format(offset, tmp_path):
    state, _ = gptq(4, offset=1)
    state["fc.qzeros"] = pack_dense(torch.full((4, 32), 8 - offset), 4)
    numbers = [[(int(state["fc.qweight"][i // 8, o]) >> (4 * (i % 8))) & 15 for i in range(64)] for o in range(32)]
    group = state["fc.g_idx"].tolist()
    expected = grouped(torch.tensor(numbers), torch.full((4, 32), 8), state["fc.scales"], group)
    assert_only(read(state, tmp_path), fc=expected)


@pytest.mark.parametrize("settings", [None, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}])
def test_gptq_of_an_unknown_format_is_noted(settings, tmp_path):
    state, _ = gptq(4, offset=1)
    config = None if settings is None else {"config.json": {"quantization_config": settings}}
    assert_packed(read(state, tmp_path, config), "GPTQ", *state)


def test_groups_out_of_range_are_refused_at_loading(tmp_path):
    state, _ = gptq(4, offset=1)
    state["fc.g_idx"][3] = 4
    network = read(state, tmp_path, {"quantize_config.json": {"bits": 4}})
    with pytest.raises(Exception, match="groups from 0 to 4, expected 0 to 3"):
        network.source.load("fc.weight")


def awq(num_in=64, num_out=32, groups=4):
    """A state dict of AWQ and its true weight."""
    numbers, zeros = torch.randint(0, 16, (num_out, num_in)), torch.randint(0, 16, (groups, num_out))
    scales = torch.rand(groups, num_out).half()
    state = {"fc.qweight": pack_awq(numbers.t()), "fc.qzeros": pack_awq(zeros), "fc.scales": scales}
    return state, grouped(numbers, zeros, scales, [i // (num_in // groups) for i in range(num_in)])


def test_awq(tmp_path):
    state, expected = awq()
    assert_only(read(state, tmp_path), fc=expected)


def test_awq_of_another_version_is_noted(tmp_path):
    state, _ = awq()
    config = {"config.json": {"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemv"}}}
    assert_packed(read(state, tmp_path, config), "AWQ", *state)


@pytest.mark.parametrize("shape", [(8, 32), (5, 21)])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16])
def test_bitsandbytes_four_bits(shape, nested, storage, tmp_path):
    count, block = math.prod(shape), 64
    table, indices = torch.randn(16).sort().values, torch.randint(0, 16, (count,))
    blocks = -(-count // block)
    settings = {"quant_type": "nf4", "blocksize": block, "shape": list(shape), "dtype": "float32"}
    state = {"fc.weight.quant_map": table}
    if nested:
        inner, outer, codes = torch.randint(0, 256, (blocks,)), torch.rand(1), torch.randn(256)
        settings |= {"nested_blocksize": 256, "nested_offset": 0.25, "nested_dtype": "float32"}
        state |= {"fc.weight.absmax": inner.to(torch.uint8), "fc.weight.nested_absmax": outer}
        state["fc.weight.nested_quant_map"] = codes
        magnitudes = [float(codes[i]) * float(outer) + 0.25 for i in inner]
    else:
        state["fc.weight.absmax"] = torch.rand(blocks)
        magnitudes = state["fc.weight.absmax"].tolist()
    halves = [*indices.tolist(), *[0] * (-count % 4)]
    packed = torch.tensor([16 * a + b for a, b in zip(halves[::2], halves[1::2], strict=True)]).to(torch.uint8)
    packed = packed[: -(-count // 2)] if storage is torch.uint8 else packed
    state["fc.weight"] = packed.view(storage)[:, None]
    text = json.dumps(settings).encode()
    state["fc.weight.quant_state.bitsandbytes__nf4"] = torch.tensor(list(text), dtype=torch.uint8)
    expected = torch.tensor([float(table[i]) * magnitudes[k // block] for k, i in enumerate(indices.tolist())])
    assert_only(read(state, tmp_path), fc=expected.reshape(shape))


@pytest.mark.parametrize("damage", ["[]", "{", '{"blocksize": 64, "shape": [1000000000, 1000000000]}', "[" * 5000])
def test_settings_of_bitsandbytes_that_do_not_fit_are_noted(damage, tmp_path):
    state = {
        "fc.weight": torch.zeros(32, 1, dtype=torch.uint8), "fc.weight.absmax": torch.ones(1),
        "fc.weight.quant_map": torch.ones(16),
        "fc.weight.quant_state.bitsandbytes__nf4": torch.tensor(list(damage.encode()), dtype=torch.uint8),
    }  # fmt: skip
    assert_packed(read(state, tmp_path), "bitsandbytes", "fc.weight", "fc.weight.absmax")


def test_bitsandbytes_eight_bits_of_an_unknown_order_is_noted(tmp_path):
    state = {"fc.weight": torch.ones(4, 8, dtype=torch.int8), "fc.SCB": torch.ones(4)}
    state["fc.weight_format"] = torch.tensor(0, dtype=torch.uint8)
    assert_only(read(state, tmp_path), fc=torch.ones(4, 8) / 127)
    state["fc.weight_format"] = torch.tensor(2, dtype=torch.uint8)
    assert_packed(read(state, tmp_path), "bitsandbytes", "fc.weight", "fc.SCB")


@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_hqq(bits, axis, tmp_path):
    shape, group = (16, 24), 16
    numbers = torch.randint(0, 2**bits, (24, group) if axis else (group, 24))
    sizes = (24, 1) if axis else (1, 24)
    zero, scale = torch.rand(sizes), torch.rand(sizes)
    words = {8: (8, 8), 6: (8, 8), 3: (3, 32)}.get(bits, (bits, 8))
    state = {
        "fc.W_q": pack_far(numbers, words[0], first_is_high=True, word=words[1] if bits != 3 else 32),
        "fc.zero": zero, "fc.scale": scale, "fc.nbits": torch.tensor(bits), "fc.shape": torch.tensor(shape),
        "fc.axis": torch.tensor(axis), "fc.packing": torch.tensor(list(b"4bit_u8"), dtype=torch.uint8),
    }  # fmt: skip
    if bits == 3:  # 10 numbers per word, from bit 27 down
        state["fc.W_q"] = pack_far(numbers, 3, first_is_high=True, word=32)
    assert_only(read(state, tmp_path), fc=((numbers - zero) * scale).reshape(shape))


def test_hqq_without_settings_is_noted(tmp_path):
    state = {"fc.W_q": torch.ones(4, 4, dtype=torch.uint8), "fc.scale": torch.ones(8, 1), "fc.zero": torch.ones(8, 1)}
    assert_packed(read(state, tmp_path), "HQQ", *state)


def test_mxfp4_of_experts(tmp_path):
    codes, scales = torch.randint(0, 16, (2, 6, 3, 32)), torch.randint(120, 135, (2, 6, 3), dtype=torch.uint8)
    state = {
        "experts.up_blocks": (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8),
        "experts.up_scales": scales,
    }
    network = read(state, tmp_path)
    values = network.source.load("experts.up")  # [experts, in, out], as experts of gpt-oss multiply from the right
    for e, o, i in ((0, 0, 0), (1, 5, 95), (1, 2, 40)):
        expected = FLOAT4[codes[e, o, i // 32, i % 32]] * 2.0 ** (int(scales[e, o, i // 32]) - 127)
        assert values[e, i, o] == expected
    assert values.shape == (2, 96, 6)


@pytest.mark.parametrize("layout", ["modelopt", "compressed", "compressed mxfp4"])
def test_floats_of_four_bits(layout, tmp_path):
    codes, block = torch.randint(0, 16, (8, 64)), 32 if "mxfp4" in layout else 16
    packed = (codes[:, ::2] + 16 * codes[:, 1::2]).to(torch.uint8)
    scales, whole = (torch.rand(8, 64 // block) * 9).to(torch.float8_e4m3fn), torch.tensor([0.125])
    state = {"fc.input_scale": torch.tensor(2.0)}
    if layout == "modelopt":
        state |= {"fc.weight": packed, "fc.weight_scale": scales, "fc.weight_scale_2": whole}
        factor = scales.float() * whole
    elif layout == "compressed":
        state |= {"fc.weight_packed": packed, "fc.weight_scale": scales, "fc.weight_global_scale": whole}
        factor = scales.float() / whole
    else:
        exponents = torch.randint(120, 130, (8, 2), dtype=torch.uint8)
        state |= {"fc.weight_packed": packed, "fc.weight_scale": exponents}
        factor = 2.0 ** (exponents.float() - 127)
    expected = [[FLOAT4[codes[o, i]] * float(factor[o, i // block]) for i in range(64)] for o in range(8)]
    assert_only(read(state, tmp_path), fc=torch.tensor(expected))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx(bits, tmp_path):
    numbers, group = torch.randint(0, 2**bits, (6, 128)), 64
    scales, biases = torch.rand(6, 2).half(), torch.rand(6, 2).half()
    words = pack_dense(numbers, bits).view(torch.uint32)
    state = {"fc.weight": words, "fc.scales": scales, "fc.biases": biases}
    expected = [[float(numbers[o, i] * scales[o, i // group].float() + biases[o, i // group]) for i in range(128)]
                for o in range(6)]  # fmt: skip
    config = {"config.json": {"quantization": {"bits": 4, "group_size": 64, "fc": {"bits": bits}}}}
    assert_only(read(state, tmp_path, config), fc=torch.tensor(expected))


def test_mlx_of_floats(tmp_path):
    codes, scales = torch.randint(0, 16, (3, 5, 64)), torch.randint(120, 130, (3, 5, 2), dtype=torch.uint8)
    words = pack_dense(codes.reshape(15, 64), 4).reshape(3, 5, 8).view(torch.uint32)
    expected = torch.tensor(FLOAT4)[codes] * (2.0 ** (scales.float() - 127)).repeat_interleave(32, -1)
    state = {"experts.weight": words, "experts.scales": scales}
    torch.testing.assert_close(read(state, tmp_path).source.load("experts.weight"), expected)
    config = {"config.json": {"quantization": {"mode": "nvfp4", "bits": 4, "group_size": 16}}}
    assert_packed(read(state, tmp_path, config), "MLX", "experts.weight", "experts.scales")


def test_mlx_of_an_open_number_of_bits_is_noted(tmp_path):
    state = {"fc.weight": torch.zeros(6, 12).to(torch.uint32)}
    state |= {"fc.scales": torch.ones(6, 3), "fc.biases": torch.ones(6, 3)}
    assert_packed(read(state, tmp_path), "MLX", *state)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("with_zeros", [False, True])
@pytest.mark.parametrize("with_groups", [False, True])
def test_compressed_tensors(bits, with_zeros, with_groups, tmp_path):
    shape, groups, offset = (24, 64), 4, 2 ** (bits - 1)
    numbers, zeros = torch.randint(0, 2**bits, shape), torch.randint(0, 2**bits, (24, groups))
    scales = torch.rand(24, groups)
    group = torch.randint(0, groups, (64,)) if with_groups else torch.arange(64) // 16
    state = {
        "fc.weight_packed": pack_dense(numbers, bits), "fc.weight_scale": scales,
        "fc.weight_shape": torch.tensor(shape),
    }  # fmt: skip
    state |= {"fc.weight_zero_point": pack_dense(zeros.t(), bits).t()} if with_zeros else {}
    state |= {"fc.weight_g_idx": group.int()} if with_groups else {}
    zero = zeros - offset if with_zeros else torch.zeros(24, groups)
    expected = grouped(numbers - offset, zero.t(), scales.t(), group.tolist())
    assert_only(read(state, tmp_path), fc=expected)


def test_compressed_tensors_of_old_versions_has_gaps(tmp_path):
    numbers = torch.randint(0, 8, (4, 96))
    state = {"fc.weight_packed": pack_gaps(numbers, 3), "fc.weight_scale": torch.ones(4, 1)}
    state["fc.weight_shape"] = torch.tensor([4, 96])
    assert_only(read(state, tmp_path), fc=numbers - 4.0)
    # 100 columns of 3 bits take 10 words with and without gaps
    numbers = torch.randint(0, 8, (4, 100))
    state |= {"fc.weight_packed": pack_gaps(numbers, 3), "fc.weight_shape": torch.tensor([4, 100])}
    assert_packed(read(state, tmp_path), "compressed-tensors", *state)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("is_float", [True, False])
def test_quanto_of_few_bits(bits, is_float, tmp_path):
    numbers = torch.randint(0, 2**bits, (18, 32))  # 6 outputs of 3 groups each
    scale, shift = torch.rand(18, 1), torch.rand(18, 1) if is_float else torch.randint(0, 4, (18, 1), dtype=torch.int8)
    state = {"fc.weight._data._data": pack_far(numbers, bits, first_is_high=False), "fc.weight._scale": scale}
    state |= {"fc.weight._shift": shift, "fc.bias": torch.ones(6), "fc.input_scale": torch.tensor(1.0)}
    expected = numbers * scale - shift if is_float else (numbers - shift) * scale
    network = read(state, tmp_path)
    torch.testing.assert_close(network.source.load("fc.weight"), expected.reshape(6, 96))
    del state["fc.bias"]
    assert_packed(read(state, tmp_path), "quanto", "fc.weight._data._data", "fc.weight._scale")


def test_torchao(tmp_path):
    numbers, scale = torch.randint(-128, 128, (4, 64), dtype=torch.int8), torch.rand(4, 2)
    zeros = torch.randint(-9, 9, (4, 2), dtype=torch.int8)
    state = {"fc._weight_qdata": numbers, "fc._weight_scale": scale, "fc._weight_zero_point": zeros}
    metadata = {"fc.weight": json.dumps({"_type": "Int8Tensor", "_data": {"block_size": [1, 32]}})}
    expected = grouped(numbers, zeros.t(), scale.t(), [i // 32 for i in range(64)])
    assert_only(read(state, tmp_path, metadata=metadata), fc=expected)
    metadata["fc.weight"] = json.dumps({"_type": "Int4TilePackedTo4dTensor", "_data": {"block_size": [1, 32]}})
    assert_packed(read(state, tmp_path, metadata=metadata), "torchao", *state)


def blocks(shape, size, dtype=torch.float8_e4m3fn):
    """Values with one scale per block of rows and columns, the last blocks partial, and the true weight."""
    values = torch.randn(shape).mul(40).to(dtype)
    scales = torch.rand([-(-n // b) for n, b in zip(shape, size, strict=True)]) + 0.1
    expected = torch.empty(shape)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        block = tuple(i // b for i, b in zip(index, size, strict=True))
        expected[tuple(index)] = float(values[tuple(index)]) * float(scales[block])
    return values, scales, expected


def test_blocks_of_the_usual_size_need_no_configuration(tmp_path):
    values, scales, expected = blocks((300, 160), (128, 128))  # 300 / 3 = 100 would fit as well
    assert_only(read({"fc.weight": values, "fc.weight_scale_inv": scales}, tmp_path), fc=expected)


def test_blocks_of_the_configured_size(tmp_path):
    values, scales, expected = blocks((100, 90), (40, 30))
    config = {"config.json": {"text_config": {"quantization_config": {"weight_block_size": [40, 30]}}}}
    assert_only(read({"fc.weight": values, "fc.weight_scale_inv": scales}, tmp_path, config), fc=expected)


def test_blocks_of_an_open_size_are_noted(tmp_path):
    values, scales, _ = blocks((100, 90), (40, 30))
    state = {"fc.weight": values, "fc.weight_scale_inv": scales}
    assert_packed(read(state, tmp_path), "size of blocks", *state)


def test_scales_of_experts(tmp_path):
    values, scales, expected = blocks((3, 130, 140), (1, 128, 128))
    state = {"experts.up": values, "experts.up_scale_inv": scales}
    network = read(state, tmp_path)
    torch.testing.assert_close(network.source.load("experts.up"), expected)


@pytest.mark.parametrize(
    "name", ["weight_scale", "weight_scale_inv", "weight.scale", "scale_weight", "scale", "scales"]
)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (1, 6), (1, 1)])
def test_spellings_of_scales(name, shape, tmp_path):
    values, scale = torch.randn(4, 6).to(torch.float8_e4m3fn), torch.rand(shape)
    expected = values.float() * (scale[:, None] if shape == (4,) else scale)
    assert_only(read({"fc.weight": values, f"fc.{name}": scale}, tmp_path), fc=expected)


@pytest.mark.parametrize("dtype", [torch.uint8, getattr(torch, "float8_e8m0fnu", torch.uint8)])
def test_scales_that_are_powers_of_two(dtype, tmp_path):
    values, exponents = torch.randn(4, 64).to(torch.float8_e4m3fn), torch.randint(120, 135, (4, 2), dtype=torch.uint8)
    expected = values.float() * (2.0 ** (exponents.float() - 127)).repeat_interleave(32, 1)
    state = {"fc.weight": values, "fc.weight_scale": exponents.view(dtype)}
    assert_only(read(state, tmp_path), fc=expected)


def mark(settings) -> torch.Tensor:
    """The bytes of a `comfy_quant` tensor."""
    return torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)


@pytest.mark.parametrize("is_tensor", [True, False])
def test_layers_of_comfy(is_tensor, tmp_path):
    settings = {"format": "int8_blockwise", "group_size": 100}
    values, scales, expected = blocks((200, 100), (100, 100), torch.int8)
    state, metadata = {"fc.weight": values, "fc.weight_scale": scales}, None
    if is_tensor:
        state["fc.comfy_quant"] = mark(settings)
    else:
        metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": {"fc": settings}})}
    assert_only(read(state, tmp_path, metadata=metadata), fc=expected)


def test_scales_that_comfy_stores_in_tiles_are_noted(tmp_path):
    state = {"fc.weight": torch.ones(128, 32, dtype=torch.uint8), "fc.weight_scale_2": torch.tensor(1.0)}
    state |= {
        "fc.weight_scale": torch.ones(128, 4).to(torch.float8_e4m3fn),
        "fc.comfy_quant": mark({"format": "nvfp4"}),
    }
    assert_packed(read(state, tmp_path), "4 bits", "fc.weight", "fc.weight_scale")
    state = {"fc.weight": torch.ones(128, 128).to(torch.float8_e4m3fn), "fc.comfy_quant": mark({"format": "mxfp8"})}
    state["fc.weight_scale"] = torch.ones(128, 4, dtype=torch.uint8)
    assert_packed(read(state, tmp_path), "unknown layout", "fc.weight", "fc.weight_scale")


def test_bytes_that_may_hold_two_numbers_are_noted(tmp_path):
    state = {"fc.weight": torch.ones(4, 6, dtype=torch.int8), "fc.weight_scale": torch.ones(4)}
    config = {"config.json": {"quantization_config": {"quant_method": "ascend", "bits": 4}}}
    assert_packed(read(state, tmp_path, config), "unknown layout", *state)


UNKNOWN = {
    "unknown scale": {"fc.weight": torch.ones(4, 6).to(torch.float8_e4m3fn), "fc.scaling_factor": torch.ones(4)},
    "scale of another shape": {"fc.weight": torch.ones(4, 6).to(torch.float8_e4m3fn), "fc.weight_scale": torch.ones(5)},
    "bytes": {"fc.weight": torch.ones(4, 6, dtype=torch.uint8), "fc.weight_scale": torch.ones(4, 1)},
    "two scales": {
        "fc.weight": torch.ones(4, 6, dtype=torch.int8), "fc.weight_scale": torch.ones(4),
        "fc.weight_scale_2": torch.ones(1),
    },
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_scales_of_unknown_layouts_are_noted(case, tmp_path):
    assert_packed(read(UNKNOWN[case], tmp_path), "", "fc.weight")


FORMATS = {
    "AQLM": ("codes", "codebooks", "scales"),
    "QuIP#": ("Qidxs", "SU", "SV"),
    "EXL2": ("q_weight", "q_scale", "q_groups"),
    "VPTQ": ("indices", "centroids.weight", "perm"),
    "Marlin": ("B", "s"),
    "EETQ": ("weight", "weight_scales"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_formats_that_are_not_read_are_named(form, tmp_path):
    state = {f"fc.{leaf}": torch.ones(4, 4, dtype=torch.int8) for leaf in FORMATS[form]}
    assert_packed(read(state, tmp_path), form, *state)


def test_leftovers_of_quantisation_are_no_weights(tmp_path):
    leftovers = {
        "fc.input_scale": torch.tensor(1.0), "attn.k_scale": torch.tensor(1.0), "scaled_fp8": torch.ones(2),
        "quant.scale": torch.tensor([0.1]), "quant.zero_point": torch.tensor([3]),
        "fc.activation_post_process.min_val": torch.ones(4), "fc.activation_post_process.eps": torch.ones(1),
        "fc.weight_fake_quant.scale": torch.ones(4), "fc.weight_fake_quant.fake_quant_enabled": torch.ones(1),
        "fc.weight_fake_quant.observer_enabled": torch.ones(1), "fc.input_quantizer._amax": torch.tensor(3.0),
    }  # fmt: skip
    weights = {"fc.weight": torch.randn(4, 6), "norm.scale": torch.ones(6)}
    network = read(weights | leftovers, tmp_path)
    assert {part.tensor for _, part in network.parts()} == {*weights, "other.weight"}
    assert {note.tensor for note in network.notes} >= set(leftovers)


@pytest.mark.filterwarnings("ignore")
def test_training_with_fake_quantisation_has_float_weights():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(6, 5))
    module.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    prepared = torch.ao.quantization.prepare_qat(module.train())
    prepared(torch.randn(2, 3, 8, 8))
    network = read_network(prepared.state_dict())
    values = {part.tensor: network.source.load(part.tensor) for _, part in network.parts()}
    assert set(values) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert torch.equal(values["1.weight"], prepared[1].weight)
    assert any("observer" in note.reason for note in network.notes)


def test_scales_of_networks_that_are_not_quantised_are_weights():
    state = {"fc.weight": torch.randn(4, 6), "input_scale": torch.ones(6), "attn.logit_scale": torch.tensor(2.0)}
    assert {part.tensor for _, part in read_network(state).parts()} == set(state)


def test_a_scale_may_lie_in_another_shard(tmp_path):
    values, scales, expected = blocks((130, 20), (128, 128))
    shards = {"fc.weight": "a.safetensors", "fc.weight_scale_inv": "b.safetensors"}
    save_file({"fc.weight": values}, tmp_path / "a.safetensors")
    save_file({"fc.weight_scale_inv": scales}, tmp_path / "b.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert_only(read_network(tmp_path), fc=expected)
