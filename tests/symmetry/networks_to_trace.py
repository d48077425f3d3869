"""Small networks of many architectures, with inputs, in a state as after training: nothing is at its initial value."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sne.making import FAMILIES
from sne.symmetry import Symmetry, trace

Built = tuple[nn.Module, Any]  # module, example inputs


class Grouped(nn.Module):
    """Grouped, depthwise, dilated and transposed convolutions, then a flattened linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4)
        self.depthwise = nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.norm = nn.GroupNorm(4, 24)
        self.mixed = nn.Conv2d(24, 6, 1)
        self.up = nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2)
        self.last = nn.ConvTranspose2d(8, 5, 3)
        self.head = nn.Linear(5 * 18 * 18, 4)

    def forward(self, x):
        x = functional.relu(self.depthwise(functional.relu(self.grouped(functional.relu(self.first(x))))))
        x = functional.leaky_relu(self.up(functional.silu(self.mixed(self.norm(x)))))
        return self.head(functional.relu(self.last(x)).flatten(1))


class Dense(nn.Module):
    """Concatenations of all earlier features, as in a DenseNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.head = nn.Linear(18, 5)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(functional.relu(norm(x)))], 1)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """Down, up by interpolation, and a skip that is concatenated."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.Conv2d(14, 7, 3, padding=1)
        self.out = nn.Conv2d(7, 2, 1)

    def forward(self, x):
        skip = functional.relu(self.down(x))
        deep = functional.gelu(self.deep(functional.max_pool2d(skip, 2)))
        deep = functional.interpolate(deep, scale_factor=2.0, mode="bilinear")
        return self.out(functional.relu(self.up(torch.cat([skip, deep], 1))))


class Recurrent(nn.Module):
    """Recurrent layers in a row; the last states are read too."""

    def __init__(self, kind: str, **settings: Any):
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 6, num_layers=2, bidirectional=True, batch_first=True, **settings)
        self.head = nn.Linear(12, 3)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        states, final = self.rnn(x)
        final = final[0] if isinstance(final, tuple) else final
        return self.head(states[:, -1]), self.last(final[-1])


class Attention(nn.Module):
    """torch's attention between two sequences, with a mask."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x, y):
        query, key = self.first(x), self.second(y)
        mixed, _ = self.attention(query, key, key, need_weights=False)
        return self.head(mixed)


class Encoder(nn.Module):
    """torch's transformer layers."""

    def __init__(self, norm_first: bool):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first, activation="relu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layers(self.embed(x)))


class Bilinear(nn.Module):
    """A product of two branches, tied tables, a gate and an einsum."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 6)
        self.first, self.second = nn.Linear(6, 4, bias=False), nn.Linear(6, 7)
        self.both = nn.Bilinear(4, 7, 5)
        self.gate = nn.Linear(5, 10)
        self.weight = nn.Parameter(torch.zeros(5, 6))
        self.out = nn.Linear(6, 9)
        self.out.weight = self.table.weight

    def forward(self, numbers):
        x = self.table(numbers)
        x = functional.glu(self.gate(self.both(self.first(x), torch.tanh(self.second(x)))))
        return self.out(torch.einsum("bti,io->bto", x, self.weight))


class Logits(nn.Module):
    """A sequence to sequence model without the encoder's states, which it would return too."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs).logits


def _plain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def _images(*shape: int) -> tuple[Tensor]:
    return (torch.randn(2, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64),)


def _numbers(most: int = 17) -> Tensor:
    return torch.randint(1, most, (2, 5), generator=torch.Generator().manual_seed(5))


def _family(name: str, seed: int = 0) -> Callable[[], Built]:
    def build() -> Built:
        family = FAMILIES[name]
        hyperparameters = family.sample(np.random.default_rng(seed))
        module = family.build(hyperparameters, (1, 20, 20), 5, torch.Generator().manual_seed(seed))
        others = {"sine_inr": _images(1), "image_inr": _images(2), "gpt": (_numbers(16),)}
        return module, others.get(name, _images(1, 20, 20))

    return build


def _hub(name: str) -> Callable[[], Built]:
    def build() -> Built:
        import transformers as hub

        hub.logging.set_verbosity_error()
        small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10}
        words, pixels = {"input_ids": _numbers()}, {"pixel_values": _images(3, 32, 32)[0]}
        if name == "gpt2":
            config = hub.GPT2Config(vocab_size=17, n_positions=16, n_embd=12, n_layer=2, n_head=2)
            return hub.GPT2LMHeadModel(config), {**words, "use_cache": False}
        if name == "llama":
            heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
            config = hub.LlamaConfig(**{**small, **heads}, vocab_size=17, hidden_size=16)
            return hub.LlamaForCausalLM(config), {**words, "use_cache": False}
        if name == "neox":
            return hub.GPTNeoXForCausalLM(hub.GPTNeoXConfig(**small, vocab_size=17, hidden_size=12)), {
                **words,
                "use_cache": False,
            }
        if name == "bloom":
            config = hub.BloomConfig(vocab_size=17, hidden_size=12, n_layer=2, n_head=2)
            return hub.BloomForCausalLM(config), {**words, "use_cache": False}
        if name == "swin":
            sizes = {"image_size": 32, "patch_size": 2, "embed_dim": 6, "window_size": 4}
            return hub.SwinForImageClassification(hub.SwinConfig(**sizes, depths=[2, 2], num_heads=[2, 2])), pixels
        if name == "bert":
            return hub.BertForSequenceClassification(hub.BertConfig(**small, vocab_size=17, hidden_size=12)), words
        if name == "t5":
            sizes = {"d_model": 12, "d_kv": 6, "d_ff": 10, "num_layers": 2, "num_heads": 2}
            config = hub.T5Config(**sizes, vocab_size=17, decoder_start_token_id=0)
            inputs = {**words, "decoder_input_ids": _numbers(), "use_cache": False}
            return Logits(hub.T5ForConditionalGeneration(config)), inputs
        if name == "hub_vit":
            return hub.ViTForImageClassification(
                hub.ViTConfig(**small, hidden_size=12, image_size=32, patch_size=8)
            ), pixels
        if name == "hub_resnet":
            config = hub.ResNetConfig(embedding_size=6, hidden_sizes=[8, 12], depths=[2, 2], layer_type="bottleneck")
            return hub.ResNetForImageClassification(config), pixels
        if name == "convnext":
            config = hub.ConvNextConfig(hidden_sizes=[6, 8], depths=[2, 2], num_stages=2, patch_size=2)
            return hub.ConvNextForImageClassification(config), pixels
        config = hub.MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False)
        return hub.MobileNetV2ForImageClassification(config), pixels

    return build


HUB = ("hub_resnet", "convnext", "mobilenet", "hub_vit", "bert", "gpt2", "llama", "t5", "neox", "bloom", "swin")
_SEEDS = {"lenet": 1, "vgg": 23, "resnet": 1}  # of networks that are not wide
ARCHITECTURES: dict[str, Callable[[], Built]] = {
    **{name: _family(name, _SEEDS.get(name, 0)) for name in FAMILIES},
    "lstm_family": _family("gru", 2),
    "grouped": lambda: (Grouped(), _images(3, 8, 8)),
    "dense": lambda: (Dense(), _images(3, 8, 8)),
    "unet": lambda: (UNet(), _images(3, 8, 8)),
    "lstm": lambda: (Recurrent("LSTM"), _images(4, 5)),
    "gru_layers": lambda: (Recurrent("GRU"), _images(4, 5)),
    "rnn": lambda: (Recurrent("RNN"), _images(4, 5)),
    "rnn_relu": lambda: (Recurrent("RNN", nonlinearity="relu"), _images(4, 5)),
    "attention": lambda: (Attention(), (*_images(4, 5), *_images(6, 5))),
    "encoder_post": lambda: (Encoder(False), _images(4, 5)),
    "encoder_pre": lambda: (Encoder(True), _images(4, 5)),
    "bilinear": lambda: (Bilinear(), (_numbers(9),)),
    "prelu": lambda: (_plain(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3)), _images(4)),
    **{name: _hub(name) for name in HUB},
}


def as_after_training(module: nn.Module) -> nn.Module:
    """The module in float64 and eval mode, with all its state drawn at random: biases, norms and statistics too."""
    module = module.double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if "running_var" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.ndim < 2:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2 + ("weight" in name))
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    return module


def build(name: str) -> Built:
    """A network of `ARCHITECTURES`, as after training, and its inputs."""
    torch.manual_seed(0)
    module, inputs = ARCHITECTURES[name]()
    return as_after_training(module), inputs


@cache
def traced(name: str) -> tuple[nn.Module, Any, Symmetry]:
    """A network of `ARCHITECTURES`, its inputs and its symmetry, traced once per session; do not change the module."""
    module, inputs = build(name)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    symmetry = trace(module, inputs)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    return module, inputs, symmetry
