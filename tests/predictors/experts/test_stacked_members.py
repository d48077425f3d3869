"""Experts together against each one alone."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from oracles import handmade
from tiny import TinyEncoder, write_tiny_zoo
from torch import nn

from sne import Predictor, fit
from sne.encoders import TensorSetEncoder
from sne.predictors import Property
from sne.predictors.experts import EncoderWithHeads, NeuralExpert, Prepared, PropertyHeads, predict_together
from sne.training import TrainingSettings
from sne.zoo import Zoo

PROPERTIES = [Property("accuracy", "fraction"), Property("optimizer", "class", ("adam", "sgd"))]
ENCODER = partial(TensorSetEncoder, dim=16, heads=2, blocks=1, seeds=1, bins=2)


def member(seed: int, make=ENCODER) -> NeuralExpert:
    torch.manual_seed(seed)
    encoder = make()
    return NeuralExpert(EncoderWithHeads(encoder, PropertyHeads(encoder.dim, PROPERTIES, hidden=3, dropout=0.5)))


@pytest.fixture(scope="module")
def prepared():
    networks = [handmade.network((handmade.mlp(), handmade.cnn())[seed % 2], seed=seed) for seed in range(5)]
    return Prepared(ENCODER().prepare(networks))


def assert_equals_each_alone(experts, prepared, stacks=None):
    for found, expert in zip(predict_together(experts, prepared, stacks), experts, strict=True):
        for one, other in zip(vars(found).values(), vars(expert.predict(prepared)).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_equals_each_expert_alone(prepared):
    wider = partial(ENCODER, dim=24)
    stacks = {}
    assert_equals_each_alone([member(0), member(1, wider), member(2), member(3, wider), member(4)], prepared, stacks)
    assert [len(stack.models) for stack in stacks.values()] == [3, 2]


def test_encoders_that_cannot_be_stacked_predict_alone():
    networks = [handmade.network(handmade.mlp(), seed=seed) for seed in range(3)]
    make = partial(TinyEncoder, dim=5)
    stacks = {}
    assert_equals_each_alone([member(seed, make) for seed in range(2)], Prepared(make().prepare(networks)), stacks)
    assert not stacks


def test_changed_parameters_are_read(prepared):
    experts, stacks = [member(0), member(1)], {}
    assert_equals_each_alone(experts, prepared, stacks)
    (kept,) = stacks.values()
    encoder = experts[1].model.encoder
    with torch.no_grad():
        encoder.token_input[0].weight.mul_(2)
    assert_equals_each_alone(experts, prepared, stacks)
    encoder.token_scale.gain.mul_(0.5)
    assert_equals_each_alone(experts, prepared, stacks)
    encoder.load_state_dict({name: 2 * value for name, value in encoder.state_dict().items()}, assign=True)
    assert_equals_each_alone(experts, prepared, stacks)
    assert list(stacks.values()) == [kept]
    experts[0].model = member(2).model
    assert_equals_each_alone(experts, prepared, stacks)
    assert list(stacks.values()) != [kept]


def test_unchanged_parameters_are_stacked_once(prepared, monkeypatch):
    from sne.predictors.experts import stacked_members

    made = []
    count = {TensorSetEncoder: lambda encoders: made.append(1) or stacked_members.StackedTensorSets(encoders)}
    monkeypatch.setattr(stacked_members, "STACKS", count)
    experts, stacks = [member(0), member(1)], {}
    for _ in range(3):
        predict_together(experts, prepared, stacks)
    assert len(made) == 1


def test_parameters_of_inference_mode_are_read(prepared):
    with torch.inference_mode():
        experts = [member(0), member(1)]
        stacks = {}
        assert_equals_each_alone(experts, prepared, stacks)
        nn.init.zeros_(experts[0].model.encoder.embedding[0].weight)
        assert_equals_each_alone(experts, prepared, stacks)


def test_copies_keep_no_stack(prepared):
    experts, stacks = [member(0), member(1)], {}
    predict_together(experts, prepared, stacks)
    for other in (copy.deepcopy((experts, stacks)), pickle.loads(pickle.dumps((experts, stacks)))):
        nn.init.zeros_(other[0][0].model.encoder.embedding[0].weight)
        assert_equals_each_alone(*other[:1], prepared, other[1])
        assert other[1][0].models == [expert.model for expert in other[0]]
    assert_equals_each_alone(experts, prepared, stacks)


def test_a_predictor_is_the_mean_of_its_experts(prepared):
    experts = [member(seed) for seed in range(3)]
    networks = [handmade.network(handmade.mlp(), seed=seed) for seed in range(4)]
    weights = np.array([[0.5, 0.2], [0.25, 0.2], [0.25, 0.6]])
    predictor = Predictor(ENCODER(), PROPERTIES, experts, weights)
    items = Prepared(ENCODER().prepare(networks))
    outputs = [expert.predict(items) for expert in experts]
    expected = sum(
        row.repeat_interleave(torch.tensor([1, 2])) * one.values
        for row, one in zip(torch.from_numpy(weights), outputs, strict=True)
    )
    (block,) = predictor.predict_blocks(networks)
    np.testing.assert_allclose(block.values, expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(block.embedding, torch.cat([one.embedding for one in outputs], 1), rtol=1e-4, atol=1e-5)
    assert pickle.loads(pickle.dumps(predictor)).predict(networks) == predictor.predict(networks)


def test_experts_of_all_folds_have_one_scale(tmp_path):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "tiny"))
    settings = TrainingSettings(epochs=1, folds=2, experts=("neural",))
    predictor = fit(zoo, ["test_accuracy"], encoder=ENCODER, settings=settings, progress=False)
    first, second = (expert.model.encoder for expert in predictor.experts)
    assert first.token_scale.equals(second.token_scale) and first.output_scale.equals(second.output_scale)
    every = ENCODER()
    rows = np.concatenate([predictor.split.rows(zoo.runs, piece) for piece in ("train", "val")])
    every.fit_scale(every.prepare(zoo.networks(np.sort(rows))))
    assert every.token_scale.equals(first.token_scale) and every.output_scale.equals(first.output_scale)
