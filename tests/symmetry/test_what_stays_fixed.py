"""What is not understood is reported and stays; what looks alike and is no symmetry is not taken for one."""

import pytest
import torch
from networks_to_trace import as_after_training
from proof import change, not_understood, outputs, state_of
from torch import nn
from torch.nn import functional

from sne.symmetry import Symmetry, SymmetryError, apply, sample, trace


class Between(nn.Module):
    """Two linear layers with a function of the hidden neurons between."""

    def __init__(self, function, width=6, reads=None):
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(reads or width, 3)
        self.function = function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def traced(module, *inputs):
    module = as_after_training(module)
    symmetry = trace(module, inputs)
    for seed in range(3):
        for kind in ("permutation", "scaling", "sign", "mixing"):
            assert change(module, inputs, sample(symmetry, seed, (kind,))) < 1e-10, (kind, symmetry.groups)
    return symmetry


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def groups(function, width=6, reads=None):
    return [(group.size, group.kinds) for group in traced(Between(function, width, reads), X).groups]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.relu, [(6, ("permutation", "scaling"))]),
        (torch.tanh, [(6, ("permutation", "sign"))]),
        (functional.gelu, [(6, ("permutation",))]),
        (lambda x: x, [(6, ("permutation", "scaling", "sign"))]),
        (lambda x: torch.relu(x) + 1, [(6, ("permutation",))]),
        (lambda x: 2 * x.pow(3), [(6, ("permutation", "scaling", "sign"))]),
        (lambda x: x.clamp(min=0), [(6, ("permutation", "scaling"))]),
        (lambda x: x.clamp(-1, 1), [(6, ("permutation",))]),
        (lambda x: torch.softmax(x, -1), [(6, ("permutation",))]),
        (lambda x: x * x.sigmoid(), [(6, ("permutation",))]),
        (lambda x: x / (1 + x.abs()), [(6, ("permutation", "sign"))]),
        (lambda x: x.round(), [(6, ("permutation",))]),
        (lambda x: x.to(torch.int64).to(torch.float64), [(6, ("permutation",))]),
        (lambda x: torch.where(x > 0, x, 0.1 * x), [(6, ("permutation",))]),
        (lambda x: x.flip(-1), []),
        (lambda x: x.cumsum(-1), []),
        (lambda x: x.sort(-1).values, []),
        (lambda x: x[:, ::2].repeat(1, 2), [(2, ("permutation",))]),  # the copies
        (lambda x: x + torch.arange(6.0), []),
        (lambda x: x * torch.arange(1.0, 7.0), [(6, ("scaling", "sign"))]),
        (lambda x: functional.pad(x[:, 1:-1], (1, 1)), [(4, ("permutation", "scaling", "sign"))]),
        (lambda x: torch.cat([x[:, 3:], x[:, :3]], 1), [(3, ("permutation", "scaling", "sign"))] * 2),
    ],
)  # fmt: skip
def test_functions_between_two_layers(function, expected):
    assert groups(function) == expected


def test_halves_that_meet_are_tied():
    assert groups(lambda x: x[:, :3] + x[:, 3:], reads=3)[0] == (3, ("permutation", "scaling", "sign"))
    assert groups(lambda x: torch.relu(x[:, :3] * x[:, 3:]), reads=3)[0][1] == ("permutation",)
    assert groups(lambda x: x.unflatten(1, (2, 3)).flip(1).flatten(1)) == [(3, ("permutation",))]


def test_cuts_that_do_not_fit_are_given_up():
    symmetry = traced(Between(lambda x: x.unflatten(1, (2, 3)).flatten(1) + x.unflatten(1, (3, 2)).flatten(1)), X)
    assert symmetry.groups == ()
    assert {one.tensor for one in not_understood(symmetry)} == {"first.weight", "first.bias", "last.weight"}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean(1, keepdim=True) + x,
        lambda x: torch.softmax(x, 1),
        lambda x: x.cumsum(1),
        lambda x: functional.layer_norm(x.transpose(1, 2), (2,)).transpose(1, 2),
        lambda x: x * x.amax(1, keepdim=True),
        lambda x: torch.einsum("bhc,hk->bkc", x, torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=x.dtype)),
    ],
)
def test_channels_that_meet_across_heads_move_alike(function):
    symmetry = traced(Between(lambda x: function(x.unflatten(1, (2, 3))).flatten(1)), X)
    channels = [group for group in symmetry.groups if group.size == 3 and "permutation" in group.kinds]
    assert len(channels) == 1 and channels[0].spans[0].outer == 2


def test_channels_that_do_not_meet_move_apart():
    symmetry = traced(Between(lambda x: torch.softmax(x.unflatten(1, (2, 3)), 2).flatten(1)), X)
    assert [group.size for group in symmetry.groups] == [3, 3, 2]


def test_entries_read_by_number():
    rows = torch.tensor([[0, 2, 1, 1]]).expand(5, 4)
    gathered = traced(Between(lambda x: x[..., None].expand(5, 6, 2).flatten(1).gather(1, rows), reads=4), X)
    assert gathered.groups == ()
    columns = torch.tensor([1, 0])[None, :, None].expand(5, 2, 3)
    symmetry = traced(Between(lambda x: torch.relu(x.unflatten(1, (2, 3)).gather(1, columns).flatten(1))), X)
    assert {group.size for group in symmetry.groups} == {3}


def test_channels_that_become_positions():
    module = nn.Sequential(nn.Conv2d(2, 12, 1), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(3, 2, 1))
    symmetry = traced(module, torch.randn(1, 2, 3, 3, dtype=torch.float64))
    (group,) = (group for group in symmetry.groups if "permutation" in group.kinds)
    assert group.size == 3 and [span.inner for span in group.spans] == [4, 4, 1]


def test_pairs_of_neurons_stay():
    symmetry = traced(Between(lambda x: torch.tanh(torch.einsum("bi,bj->bij", x, x).flatten(1)), 3, 9), X)
    assert symmetry.groups == () and "pairs of the same neurons" in not_understood(symmetry)[0].reason


def test_unknown_operations_are_named():
    symmetry = traced(Between(lambda x: torch.special.bessel_j0(x)), X)
    assert symmetry.groups == ()
    reasons = {one.reason for one in not_understood(symmetry)}
    assert any("special_bessel_j0" in reason for reason in reasons)
    assert {(one.tensor, one.dim) for one in not_understood(symmetry)} >= {("first.weight", 0), ("last.weight", 1)}


@torch.library.custom_op("sne_tests::relu", mutates_args=())
def turned(x: torch.Tensor) -> torch.Tensor:
    """No relu, for all its name."""
    return x.flip(-1).clone()


@turned.register_fake
def _(x):
    return torch.empty_like(x)


def test_operations_of_others_are_not_taken_for_those_of_torch():
    symmetry = traced(Between(lambda x: torch.ops.sne_tests.relu(x)), X)
    assert symmetry.groups == () and "not understood: sne_tests::relu (relu)" in {
        one.reason for one in not_understood(symmetry)
    }


class WithStates(nn.Module):
    """A recurrent layer whose first states are learned, or ones."""

    def __init__(self, learned: bool):
        super().__init__()
        self.rnn = nn.GRU(4, 3, num_layers=2, batch_first=True)
        self.start = nn.Parameter(torch.zeros(2, 1, 3)) if learned else None
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        start = x.new_ones(2, 5, 3) if self.start is None else self.start.expand(2, 5, 3)
        return self.head(self.rnn(x[:, None], start.contiguous())[0][:, -1])


def test_first_states_hold_what_they_must():
    learned = traced(WithStates(True), X)
    assert [group.kinds for group in learned.groups] == [("permutation",)]
    assert ("start", 2) in {(span.tensor, span.dim) for span in learned.groups[0].spans}
    assert [group.kinds for group in traced(WithStates(False), X).groups] == [("permutation",)] * 2


class OverChannels(nn.Module):
    """A recurrent layer whose steps are another layer's neurons."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.first, self.rnn = nn.Linear(4, 6), nn.GRU(1, 3, batch_first=batch_first)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.first(x)[..., None]
        return self.head(self.rnn(x)[0].sum(1) if self.rnn.batch_first else self.rnn(x.transpose(0, 1))[0].sum(0))


@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_stay_in_their_order(batch_first):
    assert [group.size for group in traced(OverChannels(batch_first), X).groups] == [3]


def test_weights_that_are_normed():
    module = Between(torch.relu)
    nn.utils.parametrizations.weight_norm(module.first)
    symmetry = traced(module, X)
    assert not not_understood(symmetry)
    assert {span.tensor for span in symmetry.groups[0].spans} == {
        "first.parametrizations.weight.original0",
        "first.parametrizations.weight.original1",
        "first.bias",
        "last.weight",
    }
    assert symmetry.groups[0].kinds == ("permutation", "scaling")


class Unread(nn.Module):
    """A layer that the run does not reach, an integer buffer, a buffer that is not kept."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("shift", torch.arange(3.0), persistent=False)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.used(x) + self.shift)


def test_tensors_that_are_not_read_stay():
    symmetry = traced(Unread(), X)
    assert symmetry.groups == ()
    assert {(one.tensor, one.reason) for one in symmetry.fixed if one.tensor.startswith("unused")} == {
        ("unused.weight", "not read by the traced run"),
        ("unused.bias", "not read by the traced run"),
    }


class TwoOutputs(nn.Module):
    """Returns its hidden neurons too."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return {"logits": self.last(hidden), "hidden": hidden}


def test_outputs_that_count():
    module = as_after_training(TwoOutputs())
    assert trace(module, (X,)).groups == ()
    symmetry = trace(module, {"x": X}, outputs=("logits",))
    assert [group.name for group in symmetry.groups] == ["first.weight:0"]
    new = apply(sample(symmetry, 0), state_of(module))
    before, after = outputs(module, (X,), state_of(module)), outputs(module, (X,), new)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2)).double().train()
    module[1].eval()
    modes = [one.training for one in module.modules()]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    symmetry = trace(module, (X,))
    assert [one.training for one in module.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert symmetry == trace(module, (X,)) and isinstance(symmetry, Symmetry)


def test_tied_tensors_are_one():
    module = Between(lambda x: x)
    module.again = nn.Linear(4, 6)
    module.again.weight = module.first.weight
    module.function = lambda x: torch.relu(x)
    symmetry = traced(module, X)
    assert symmetry.aliases == {"again.weight": "first.weight"}
    new = apply(sample(symmetry, 0), module.state_dict())
    assert torch.equal(new["again.weight"], new["first.weight"])


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (nn.Linear(4, 2), (torch.ones(5, 3),), "Linear cannot be exported: RuntimeError: "),
        (nn.Linear(4, 2), {"y": torch.ones(5, 4)}, "Linear cannot be exported: TypeError: "),
        (Between(lambda x: x if x.sum() > 0 else -x).double(), (X,), "Between cannot be exported: "),
    ],
)
def test_modules_that_cannot_be_run(module, inputs, message):
    with pytest.raises(SymmetryError, match=message) as caught:
        trace(module.train(), inputs)
    assert "\n" not in str(caught.value) and module.training
