"""Plain stacks, and modules that have their names and do something else."""

from itertools import pairwise

import pytest
import torch
from by_name_proof import largest_change, prove
from torch import nn
from torch.nn.functional import linear, relu

from sne.checkpoints import CheckpointSource, StateDictTensors
from sne.checkpoints.read import read_network
from sne.networks import Hint, LayerType, TensorInfo, build_network
from sne.symmetry import symmetry_by_name


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def mlp(*widths, activation=nn.ReLU, norm=None, bias=True):
    layers = []
    for i in range(len(widths) - 1):
        layers.append(nn.Linear(widths[i], widths[i + 1], bias=bias))
        if i < len(widths) - 2:
            layers += [norm(widths[i + 1])] if norm else []
            layers.append(activation())
    return nn.Sequential(*layers)


class Named(nn.Module):
    """Modules by name, and what is done with them."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.run(self, *inputs)


def layers(*modules):
    return {"layers": nn.ModuleList(modules)}


def plainly(module, x):
    """The layers one after the other, with an activation between them."""
    for layer in module.layers[:-1]:
        x = relu(layer(x))
    return module.layers[-1](x)


def test_widths_of_linear_layers():
    assert prove(mlp(5, 7, 6, 7, 3), draw(4, 5)) == {"width.7": 7, "width.6": 6}
    sizes = prove(mlp(5, 7, 6, 7, 3), draw(4, 5), assume_sequential=True)
    assert sizes == {"between.0": 7, "between.1": 6, "between.2": 7}


def test_widths_of_the_input_and_the_output_stay():
    assert prove(mlp(5, 7, 5, 6, 3, 4, 3), draw(4, 5)) == {"width.7": 7, "width.6": 6, "width.4": 4}
    assert prove(mlp(5, 5, 5), draw(4, 5)) == {}
    assert prove(mlp(5, 5, 5), draw(4, 5), assume_sequential=True) == {"between.0": 5}


def kinds_of(module, **options):
    return {group.name: group.kinds for group in symmetry_by_name(read_network(module), **options).groups}


@pytest.mark.parametrize(
    ("name", "activation", "kinds"),
    [
        ("relu", nn.ReLU, ("permutation", "scaling")),
        ("leaky_relu", nn.LeakyReLU, ("permutation", "scaling")),
        ("tanh", nn.Tanh, ("permutation", "sign")),
        ("none", nn.Identity, ("permutation", "scaling", "sign")),
        ("gelu", nn.GELU, ("permutation",)),
    ],
)
@pytest.mark.parametrize("norm", [None, nn.BatchNorm1d])
def test_kinds_that_pass_an_activation(name, activation, kinds, norm):
    module = mlp(5, 7, 6, 3, activation=activation, norm=norm)
    prove(module, draw(4, 5), activation=name)
    assert set(kinds_of(module, activation=name).values()) == {("permutation",) if norm else kinds}
    assert set(kinds_of(module).values()) == {("permutation",)}


def cnn(*head, norm=nn.BatchNorm2d, last=nn.Identity):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), norm(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=1, bias=False), norm(4), nn.ReLU(), last(), nn.Flatten(), *head,
    )  # fmt: skip


IMAGES = draw(2, 3, 6, 6)


def test_flatten_and_global_pooling():
    assert prove(cnn(nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2)), IMAGES) == {
        "width.6": 6,
        "width.4": 4,
        "width.8": 8,
    }
    pooled = cnn(nn.Linear(4, 2), last=lambda: nn.AdaptiveAvgPool2d(1))
    assert prove(pooled, IMAGES) == {"width.6": 6, "width.4": 4}
    assert prove(pooled, IMAGES, assume_sequential=True) == {"between.0": 6, "between.1": 4}
    normed = cnn(nn.BatchNorm1d(36), nn.Linear(36, 2))
    assert prove(normed, IMAGES) == {"width.6": 6, "width.4": 4}
    assert prove(normed, IMAGES, assume_sequential=True) == {"between.0": 6, "between.1": 4}


def test_batch_norms_between_equal_widths_have_their_places_by_number():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2),
    )  # fmt: skip
    assert prove(module, IMAGES) == {"width.4": 4}
    assert prove(module, IMAGES, assume_sequential=True) == {f"between.{i}": 4 for i in range(3)}


def test_named_layers():
    def run(m, x):
        x = relu(m.bn2(m.conv2(relu(m.bn1(m.conv1(x))))))
        return m.fc2(relu(m.fc1(x.flatten(1))))

    def module(second):
        return Named(
            run, fc2=nn.Linear(8, 2), bn1=nn.BatchNorm2d(5), conv1=nn.Conv2d(3, 5, 3), fc1=nn.Linear(4 * second, 8),
            conv2=nn.Conv2d(5, second, 3), bn2=nn.BatchNorm2d(second),
        )  # fmt: skip

    assert prove(module(4), IMAGES) == {"width.5": 5, "width.4": 4, "width.8": 8}
    assert prove(module(4), IMAGES, assume_sequential=True) == {"between.0": 5, "between.1": 4, "between.2": 8}
    # names do not say before or after which convolution a norm of both widths stands
    assert prove(module(5), IMAGES, assume_sequential=True) == {"between.0": 5, "between.2": 8}


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions(dims):
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    module = nn.Sequential(conv(2, 6, 2), nn.ReLU(), conv(6, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4**dims, 3))
    assert prove(module, draw(2, 2, *[6] * dims)) == {"width.6": 6, "width.4": 4}


def test_depthwise_convolutions():
    module = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    assert prove(module, IMAGES) == {"width.6": 6, "width.4": 4}
    assert prove(module, IMAGES, assume_sequential=True, activation="relu") == {"between.0": 6, "between.2": 4}


def test_a_decoder_of_transposed_convolutions():
    module = nn.Sequential(
        nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 16), nn.ReLU(), nn.Unflatten(1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 5, 2), nn.ReLU(), nn.ConvTranspose2d(5, 2, 2, bias=False),
    )  # fmt: skip
    assert prove(module, draw(2, 3)) == {"width.7": 7, "width.4": 4, "width.5": 5}


def test_a_depthwise_convolution_at_the_end():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 2, groups=6))
    assert prove(module, IMAGES) == {"width.4": 4}
    assert prove(module, IMAGES, assume_sequential=True) == {"between.0": 4}


@pytest.mark.parametrize("names", [("convs", "bns"), ("layers", "norms")])
def test_norms_in_a_list_of_their_own(names):
    def run(m, x):
        layers, norms = (getattr(m, name) for name in names)
        for layer, norm in zip(layers, norms, strict=False):
            x = relu(norm(layer(x)))
        return layers[-1](x)

    def module(*widths):
        linears, norms = [nn.Linear(a, b) for a, b in pairwise(widths)], [nn.BatchNorm1d(n) for n in widths[1:-1]]
        return Named(run, **{names[0]: nn.ModuleList(linears), names[1]: nn.ModuleList(norms)})

    assert prove(module(5, 7, 6, 2), draw(3, 5), assume_sequential=True) == {"between.0": 7, "between.1": 6}
    # of one width with the output: it may be there
    assert prove(module(5, 7, 6, 7), draw(3, 5), assume_sequential=True) == {"between.1": 6}


def test_norms_by_number_stand_where_they_stand():
    module = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 7), nn.BatchNorm1d(7))
    assert prove(module, draw(3, 5), assume_sequential=True) == {"between.0": 7}
    assert prove(module, draw(3, 5)) == {}


class LastState(nn.Module):
    def __init__(self, cell, bidirectional, classes=3):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = cell(6, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)
        self.fc = nn.Linear(10 if bidirectional else 5, classes)

    def forward(self, tokens):
        return self.fc(self.rnn(self.embedding(tokens))[0].mean(1))


TOKENS = torch.randint(0, 11, (2, 4), generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_behind_an_embedding(cell, bidirectional):
    assert prove(LastState(cell, bidirectional), TOKENS) == {"width.6": 6, "width.5": 5}
    sizes = prove(LastState(cell, bidirectional), TOKENS, assume_sequential=True, activation="tanh")
    assert sizes == {"between.0": 6, "between.1": 5, "between.2": 5}


def test_a_norm_over_both_directions():
    class Normed(LastState):
        def __init__(self):
            super().__init__(nn.LSTM, True)
            self.ln = nn.LayerNorm(10)

        def forward(self, tokens):
            return self.fc(self.ln(self.rnn(self.embedding(tokens))[0].mean(1)))

    assert prove(Normed(), TOKENS) == {"width.6": 6, "width.5": 5}


def test_states_of_both_directions_in_any_order():
    class Turned(LastState):
        def forward(self, tokens):
            states = self.rnn(self.embedding(tokens))[1]
            return self.fc(torch.cat([states[-1], states[-2]], 1)) + self.fc(torch.cat([states[0], states[1]], 1))

    assert prove(Turned(nn.GRU, True), TOKENS) == {"width.6": 6, "width.5": 5}


# Modules with the names of a stack. What they do is in no name; nothing that is claimed may fail for them.


def hidden_skips(m, x):
    x = relu(m.layers[0](x))
    y = x + relu(m.layers[1](x))
    z = relu(m.layers[3](relu(m.layers[2](y))))
    return m.layers[4](y + z + x)


def test_hidden_skips():
    module = Named(hidden_skips, **layers(*(nn.Linear(a, b) for a, b in [(5, 8), (8, 8), (8, 6), (6, 8), (8, 2)])))
    assert prove(module, draw(3, 5)) == {"width.8": 8, "width.6": 6}
    assert prove(module, draw(3, 5), activation="relu") == {"width.8": 8, "width.6": 6}


def test_a_skip_from_the_input_and_to_the_output():
    def run(m, x):
        y = x + relu(m.layers[0](x))
        return m.layers[3](relu(m.layers[2](relu(m.layers[1](y))))) + m.layers[1](y)

    module = Named(run, **layers(*(nn.Linear(a, b) for a, b in [(5, 5), (5, 3), (3, 7), (7, 3)])))
    assert prove(module, draw(3, 5)) == {"width.7": 7}


def test_layers_used_twice():
    shared, other = nn.Linear(8, 6), nn.Linear(6, 8)
    module = nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), shared, nn.ReLU(), other, nn.ReLU(), shared, nn.ReLU(), other, nn.ReLU(),
        nn.Linear(8, 2),
    )  # fmt: skip
    assert prove(module, draw(3, 5)) == {"width.8": 8, "width.6": 6}
    symmetry = symmetry_by_name(read_network(module), assume_sequential=True)  # the module's hints tell; names do not
    assert not symmetry.groups
    assert "6.weight and 2.weight are one tensor, and would move differently" in {one.reason for one in symmetry.fixed}


def test_tied_embeddings():
    module = Named(
        lambda m, t: m.head(relu(m.layers[1](relu(m.layers[0](m.embed(t)))))),
        embed=nn.Embedding(11, 6), head=nn.Linear(6, 11, bias=False), **layers(nn.Linear(6, 4), nn.Linear(4, 6)),
    )  # fmt: skip
    module.head.weight = module.embed.weight
    assert prove(module, TOKENS) == {"width.6": 6, "width.4": 4}
    one_by_one = symmetry_by_name(read_network(module), assume_sequential=True, activation="relu")
    assert [group.name for group in one_by_one.groups] == ["between.1"]
    assert largest_change(module, [TOKENS], one_by_one, ("permutation", "scaling")) < 1e-10


@pytest.mark.parametrize(
    ("shapes", "run"),
    [
        pytest.param(  # of two layers
            [(5, 4), (4, 4), (8, 2)],
            lambda m, x: m.layers[2](torch.cat([y := relu(m.layers[0](x)), relu(m.layers[1](y))], 1)),
            id="concatenation",
        ),
        pytest.param(  # DenseNet
            [(5, 4), (9, 4), (13, 2)],
            lambda m, x: m.layers[2](torch.cat([y := torch.cat([x, m.layers[0](x)], 1), m.layers[1](y)], 1)),
            id="dense concatenation",
        ),
        pytest.param(
            [(5, 8), (4, 2)],
            lambda m, x: m.layers[1](nn.functional.glu(m.layers[0](x))),
            id="gates",
        ),
        pytest.param(  # ShuffleNet, flows
            [(6, 8), (4, 4), (8, 2)],
            lambda m, x: m.layers[2](torch.cat([(y := m.layers[0](x))[:, :4], relu(m.layers[1](y[:, 4:]))], 1)),
            id="halves",
        ),
        pytest.param(  # mixing tokens
            [(5, 8), (3, 4), (8, 2)],
            lambda m, x: m.layers[2](m.layers[1](m.layers[0](x.view(1, 3, 5)).transpose(1, 2)).transpose(1, 2)),
            id="transpose",
        ),
        pytest.param(  # a value and a policy
            [(5, 8), (8, 2), (8, 3)],
            lambda m, x: torch.cat([m.layers[1](y := relu(m.layers[0](x))), m.layers[2](y)], 1),
            id="two heads",
        ),
    ],
)
def test_widths_that_do_not_follow_one_another(shapes, run):
    module = Named(run, **layers(*(nn.Linear(a, b) for a, b in shapes)))
    assert prove(module, draw(3, shapes[0][0])) == {}


def test_several_statistics_of_a_channel():
    """Means beside maxima: the linear layer reads channels twice over, not two positions of each."""

    class Both(nn.Module):
        def forward(self, x):
            return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)

    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), Both(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    assert prove(module, IMAGES) == {}

    class Pyramid(nn.Module):
        def forward(self, x):
            return torch.cat([nn.functional.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2)], 1)

    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), Pyramid(), nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 2))
    assert prove(module, IMAGES) == {}


@pytest.mark.parametrize("flat", [False, True])
def test_a_cnn_on_text_reads_its_convolutions_side_by_side(flat):
    """As wide as the embedding, and as many as would make an image of 2 x 2."""

    def run(m, tokens):
        x = m.embedding(tokens)
        x = x.unsqueeze(1) if flat else x.transpose(1, 2)
        return m.fc(torch.cat([relu(conv(x)).flatten(2).amax(2) for conv in m.convs], 1))

    def conv(kernel):
        return nn.Conv2d(1, 6, (kernel, 6)) if flat else nn.Conv1d(6, 6, kernel)

    convs = nn.ModuleList(conv(kernel) for kernel in (1, 2, 3, 4))
    module = Named(run, embedding=nn.Embedding(11, 6), convs=convs, fc=nn.Linear(24, 2))
    assert prove(module, TOKENS) == {}


def test_transposed_convolutions_without_biases():
    module = Named(
        lambda m, x: m.main(x),
        main=nn.Sequential(
            nn.ConvTranspose2d(5, 8, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 6, 2, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.ConvTranspose2d(6, 3, 2, bias=False),
        ),
    )  # fmt: skip
    assert prove(module, draw(2, 5, 1, 1)) == {"width.8": 8, "width.6": 6}


def test_flattened_channels_and_neurons_of_one_number():
    """A skip may lead around the linear layer: 16 neurons there are 4 channels of 4 positions."""

    def run(m, x):
        x = relu(m.layers[0](x)).flatten(1)
        return m.layers[2](x + relu(m.layers[1](x)))

    module = Named(run, **layers(nn.Conv2d(3, 4, 5), nn.Linear(16, 16), nn.Linear(16, 2)))
    assert prove(module, IMAGES) == {}


def test_norms_over_groups_of_channels():
    assert prove(cnn(nn.Linear(36, 2), norm=lambda n: nn.GroupNorm(2, n)), IMAGES) == {}
    assert prove(cnn(nn.Linear(36, 2), norm=lambda n: nn.GroupNorm(2, n)), IMAGES, assume_sequential=True) == {}


def test_layer_norms_need_a_telling_name_or_a_module():
    def run(m, x):
        return m.fc2(relu(m.ln1(m.fc1(x))))

    module = Named(run, fc1=nn.Linear(5, 7), ln1=nn.LayerNorm(7), fc2=nn.Linear(7, 2))
    assert prove(module, draw(3, 5)) == {"width.7": 7}
    module = mlp(5, 7, 2, norm=nn.LayerNorm)
    assert prove(module, draw(3, 5)) == {}
    assert kinds_of(module) == {"width.7": ("permutation",)}


def test_convolutions_in_groups():
    module = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 2),
    )  # fmt: skip
    assert prove(module, IMAGES) == {}


def test_a_bilinear_layer_is_no_convolution():
    def run(m, x):
        y = relu(m.layers[0](x))
        return m.layers[2](m.layers[1](y, y))

    module = Named(run, **layers(nn.Linear(5, 4), nn.Bilinear(4, 4, 6), nn.Linear(6, 2)))
    assert prove(module, draw(3, 5)) == {}


def test_no_claims_about_a_class_that_is_neither_linear_nor_a_convolution():
    state = {"layers.0.weight": (4, 5), "layers.1.weight": (6, 4, 3), "layers.2.weight": (2, 6)}
    state = {name: draw(*shape) for name, shape in state.items()}
    found = {}
    for kind in LayerType:
        source = CheckpointSource(StateDictTensors(state, hints={"layers.1": Hint(kind)}))
        found[kind] = bool(symmetry_by_name(build_network("a network", source, source.hints)).groups)
    assert found[LayerType.CONV1D] and not found[LayerType.OTHER]
    claimed = {kind for kind, has_groups in found.items() if has_groups}
    assert claimed <= {kind for kind in LayerType if kind.startswith("conv")} | {LayerType.LINEAR, LayerType.EMBEDDING}


def test_codes_of_an_autoencoder_may_be_outputs():
    def run(m, x):
        code = m.encoder(x)
        return torch.cat([code, m.decoder(code)], 1)

    module = Named(run, encoder=mlp(5, 7, 3), decoder=mlp(3, 6, 5))
    assert prove(module, draw(2, 5)) == {"width.7": 7, "width.6": 6}
    tied = Named(
        lambda m, x: linear(relu(linear(m.encoder(x), m.encoder[2].weight.T)), m.encoder[0].weight.T),
        encoder=mlp(5, 7, 3),
    )
    assert prove(tied, draw(2, 5)) == {"width.7": 7}


@pytest.mark.parametrize("names", [("actor", "critic"), ("generator", "discriminator"), ("q", "k"), ("layers", "net")])
def test_words_that_no_plain_stack_has_or_whose_order_is_open(names):
    module = Named(
        lambda m, x: getattr(m, names[1])(getattr(m, names[0])(x)),
        **{names[0]: mlp(5, 7, 4), names[1]: mlp(4, 6, 2)},
    )
    assert prove(module, draw(2, 5)) == {}


def reasons(**shapes):
    infos = {name.replace("__", "."): shape for name, shape in shapes.items()}
    symmetry = symmetry_by_name({name: TensorInfo(name, shape, "float32") for name, shape in infos.items()})
    assert not symmetry.groups and len(symmetry.fixed) == sum(map(len, infos.values()))
    return {fixed.reason for fixed in symmetry.fixed}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, None),
        ({"weight": (3, 4)}, "at least two layers"),
        ({"0__weight": (8, 4), "1__weight": (2, 8), "pos": (1, 8)}, "pos is not a layer"),
        ({"0__weight": (8, 4), "0__bias": (9,), "1__weight": (2, 8)}, "0.bias is [9]"),
        (
            {"0__weight": (8, 4), "1__weight": (2, 8), "2__weight": (2, 2, 1, 1, 1, 1)},
            "neither a linear layer nor a convolution",
        ),
        ({"rnn__weight_ih_l0": (9, 4), "rnn__weight_hh_l0": (9, 2), "fc__weight": (2, 2)}, "fits no LSTM"),
        ({"rnn__weight_ih_l0": (8, 4), "rnn__weight_hh_l0": (8, 2), "rnn__weight_hr_l0": (1, 2)}, "weight_hr"),
        ({"rnn__weight_hh_l0": (8, 2), "fc__weight": (2, 2)}, "do not fit each other"),
        ({"rnn__weight_hh_l0": (), "fc__weight": (2, 2)}, "no recurrent weights"),
        ({"0__weight": (8, 4), "1__weight": (5,), "2__weight": (2, 8)}, "1 is 5 wide"),
        ({"0__weight": (8, 4), "1__weight": (8,), "1__bias": (4,), "2__weight": (2, 8)}, "different shapes"),
        ({"0__weight": (0, 4), "1__weight": (2, 0)}, "is empty"),
    ],
)
def test_whatever_comes_there_is_a_reason_and_no_exception(shapes, reason):
    found = reasons(**shapes)
    assert not found if reason is None else any(reason in one for one in found), found
