import math

import pytest
import torch

from sne.predictors import Property
from sne.predictors.experts import PropertyHeads

PROPERTIES = (
    Property("accuracy", "fraction"),
    Property("loss", "real", mean=2.0, std=0.5),
    Property("activation", "class", ("relu", "tanh", "sine")),
)


def slow_loss(outputs, targets):
    """The sum of three means, one label at a time."""
    total = 0.0
    for column in range(3):
        terms = []
        for row in range(len(outputs)):
            target = targets[row][column]
            if math.isnan(target):
                continue
            if column == 0:
                p = 1 / (1 + math.exp(-outputs[row][0]))
                terms.append(-target * math.log(p) - (1 - target) * math.log(1 - p))
            elif column == 1:
                terms.append((outputs[row][1] - (target - 2.0) / 0.5) ** 2)
            else:
                logits = outputs[row][2:]
                terms.append(math.log(sum(math.exp(v) for v in logits)) - logits[int(target)])
        total += sum(terms) / len(terms) if terms else 0.0
    return total


def test_loss_is_the_slow_loop_with_missing_labels_left_out():
    torch.manual_seed(0)
    heads = PropertyHeads(4, PROPERTIES)
    outputs = torch.randn(5, 5) * 2
    nan = math.nan
    targets = torch.tensor([[0.2, 1.0, 2], [nan, 3.0, 0], [1.0, nan, nan], [0.0, 2.5, nan], [0.7, 9.0, 1]])
    expected = slow_loss(outputs.tolist(), targets.tolist())
    assert float(heads.loss(outputs, targets)) == pytest.approx(expected, rel=1e-5)


def test_missing_labels_give_no_gradient():
    heads = PropertyHeads(4, PROPERTIES)
    outputs = torch.randn(2, 5, requires_grad=True)
    loss = heads.loss(outputs, torch.tensor([[math.nan, 1.0, 1.0], [math.nan, math.nan, math.nan]]))
    loss.backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert (outputs.grad[:, 0] == 0).all() and (outputs.grad[1] == 0).all() and (outputs.grad[0, 1:] != 0).all()
    assert heads.loss(outputs, torch.full((2, 3), math.nan)).item() == 0.0


def test_values_are_in_the_properties_units():
    heads = PropertyHeads(4, PROPERTIES)
    values = heads.values(torch.tensor([[0.0, 2.0, 0.0, math.log(2.0), 0.0]]))
    torch.testing.assert_close(values, torch.tensor([[0.5, 3.0, 0.25, 0.5, 0.25]]))


def test_hidden_layer_and_settings():
    heads = PropertyHeads(4, PROPERTIES, hidden=6, dropout=0.1)
    again = PropertyHeads(4, PROPERTIES, **heads.settings())
    again.load_state_dict(heads.state_dict())
    x = torch.randn(3, 4)
    torch.testing.assert_close(heads.eval()(x), again.eval()(x))
    assert heads(x).shape == (3, 5)


def test_the_rank_output_takes_its_share_of_the_loss_and_leaves_values_alone():
    accuracy = Property.infer("accuracy", [0.1, 0.1, 0.5, 0.9])
    torch.manual_seed(0)
    heads = PropertyHeads(6, [accuracy], rank_weight=0.25)
    outputs = heads(torch.randn(3, 6))
    targets = torch.tensor([[0.1], [0.9], [0.5]])
    assert outputs.shape == (3, 2)
    assert torch.equal(heads.values(outputs), outputs[:, :1].sigmoid())

    def entropy(column, goals):
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, column], goals)

    expected = 0.75 * entropy(0, targets[:, 0]) + 0.25 * entropy(1, accuracy.ranks(targets[:, 0]))
    assert torch.allclose(heads.loss(outputs, targets), expected)
    missing = torch.tensor([[0.1], [math.nan], [math.nan]])
    assert heads.loss(outputs, missing).isfinite()
    assert PropertyHeads(6, [accuracy], **heads.settings()).rank_output is not None
