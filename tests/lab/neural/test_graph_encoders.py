"""Both encoders on neuron graphs: contract, exact invariance, sensitivity, and comparison with slow loops."""

import json
import math

import neural_cases
import pytest
import torch
from oracles import handmade
from tiny import write_tiny_zoo
from torch.nn.functional import silu

from sne import Predictor
from sne.encoders import NetworkEncoder
from sne.lab.neural import NEURAL_BASELINES, NEURAL_ENCODERS, CannotTakeError
from sne.lab.neural import graph_batch as batches
from sne.lab.neural import graph_encoder as encoders
from sne.lab.neural.graph_batch import GraphBatch, GraphRun
from sne.lab.neural.graph_input import waves
from sne.lab.neural.graph_network import MessageLayer
from sne.lab.neural.graph_transformer import LARGEST_LOGIT, EdgeAttention
from sne.networks import Network
from sne.symmetry import apply, sample
from sne.training import TrainingSettings, fit
from sne.zoo import Zoo

NAMES = ("graph_network", "graph_transformer")
TRACED = ("mlp", "small_cnn", "cnn_s", "gru", "lstm_family", "residual_cnn", "wild_cnn", "vit", "sine_inr", "image_inr")
TRACED += ("grouped", "dense", "attention", "llama")
LAYOUTS = [handmade.mlp(), handmade.cnn(), handmade.small_cnn(), handmade.resnet(), handmade.gru()]
LAYOUTS += [handmade.transformer(), handmade.mlp()]


def networks() -> list[Network]:
    return [handmade.network(layers, seed=seed) for seed, layers in enumerate(LAYOUTS)]


def fitted(name: str) -> NetworkEncoder:
    """An encoder whose parameters all have an effect, as after some training."""
    torch.manual_seed(0)
    encoder = NEURAL_BASELINES[name](networks())
    encoder.fit_scale(encoder.prepare(networks()))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder.eval()


@pytest.fixture(scope="module", params=NAMES)
def encoder(request) -> NetworkEncoder:
    return fitted(request.param)


def encode(encoder: NetworkEncoder, some: list[Network]) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.collate(encoder.prepare(some)))


def in_double(encoder: NetworkEncoder, some: list[Network]) -> torch.Tensor:
    batch = encoder.collate(encoder.prepare(some))
    batch = GraphBatch(tuple(GraphRun(run.plan, run.values.double()) for run in batch.runs), batch.order)
    with torch.no_grad():
        rows = encoder.double()(batch)
    encoder.float()
    return rows


def distance(rows: torch.Tensor) -> float:
    """Largest difference from the first row, relative to its largest entry."""
    return float((rows[1:] - rows[:1]).abs().max() / rows[0].abs().max())


@pytest.fixture(scope="module", params=TRACED)
def traced(request):
    return neural_cases.traced(request.param)


def test_permutations_change_nothing(encoder, traced):
    state, symmetry, make = traced
    some = [make(state)] + [make(apply(sample(symmetry, seed), state)) for seed in range(3)]
    assert distance(torch.stack([item.values for item in encoder.prepare(some)])) > 0
    assert distance(encode(encoder, some)) < 1e-4
    assert distance(in_double(encoder, some)) < 1e-9


def test_moving_one_tensor_alone_is_seen(encoder, traced):
    state, symmetry, make = traced
    group = max((one for one in symmetry.groups if "permutation" in one.kinds), key=lambda one: one.size)
    span, places = group.places[0]
    order = torch.arange(state[span.tensor].shape[span.dim])
    order[places] = places.roll(1, 0)
    changed = {**state, span.tensor: state[span.tensor].index_select(span.dim, order)}
    assert distance(in_double(encoder, [make(state), make(changed)])) > 1e-7


def test_what_stays_in_its_place_is_told_apart(encoder):
    """Outputs, inputs, kernel positions and channels of different heads cannot be exchanged."""
    state, _, make = neural_cases.traced("vit")

    def swapped(tensors, dim, one, other):
        changed = dict(state)
        for name in tensors:
            order = torch.arange(state[name].shape[dim])
            order[[one, other]] = order[[other, one]]
            changed[name] = state[name].index_select(dim, order)
        return changed

    value = "blocks.0.attn.qkv.weight"
    crossed = swapped([value, "blocks.0.attn.qkv.bias"], 0, 64, 80)
    crossed["blocks.0.attn.proj.weight"] = swapped(["blocks.0.attn.proj.weight"], 1, 0, 16)["blocks.0.attn.proj.weight"]
    others = [
        swapped(["head.weight", "head.bias"], 0, 0, 1),
        swapped(["pos_embed"], 1, 0, 1),
        swapped(["patch_embed.proj.weight"], 2, 0, 1),
        crossed,
    ]
    for changed in others:
        assert distance(in_double(encoder, [make(state), make(changed)])) > 1e-7


def test_settings_rebuild_it(encoder):
    settings = json.loads(json.dumps(encoder.settings()))
    again = NEURAL_ENCODERS[type(encoder).__name__](**settings).eval()
    again.load_state_dict(encoder.state_dict())
    assert again.settings() == encoder.settings() and again.dim == encoder.dim
    assert torch.equal(encode(again, networks()), encode(encoder, networks()))


def test_batch_mates_and_order_do_not_matter(encoder):
    some = networks()
    together = encode(encoder, some)
    assert together.shape == (len(some), encoder.dim) and together.isfinite().all()
    order = [6, 3, 0, 5, 1, 4, 2, 3]
    torch.testing.assert_close(encode(encoder, [some[i] for i in order]), together[order], rtol=1e-4, atol=1e-4)
    for row, network in zip(together, some, strict=True):
        torch.testing.assert_close(encode(encoder, [network])[0], row, rtol=1e-4, atol=1e-4)
    assert torch.cdist(together, together).fill_diagonal_(torch.inf).min() > 1e-3


def test_no_network_disturbs_another(encoder):
    some = networks()
    huge = {name: 1e25 * some[0].source.load(name) for name in some[0].source.infos}
    broken = Network("huge", some[0].layers, handmade.TensorsInMemory(huge))
    rows = encode(encoder, [some[0], broken, some[6]])
    assert rows.isfinite().all()
    torch.testing.assert_close(rows[[0, 2]], encode(encoder, [some[0], some[6]]), rtol=1e-4, atol=1e-4)


def test_preparing_depends_on_no_parameter_and_collating_changes_nothing(encoder):
    some = networks()
    plain = type(encoder)().prepare(some)
    for one, other in zip(plain, encoder.prepare(some), strict=True):
        assert one.plan is other.plan and torch.equal(one.values, other.values)
    kept = [item.values.clone() for item in plain]
    encoder(encoder.collate(plain))
    assert all(torch.equal(item.values, values) for item, values in zip(plain, kept, strict=True))
    assert encoder.collate(plain).to("cpu").num_networks == len(some)


def test_half_precision_is_finite_and_near(encoder):
    expected = encode(encoder, networks())
    with torch.autocast("cpu", torch.bfloat16):
        half = encode(encoder, networks())
    assert half.isfinite().all() and (half.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_runaway_networks_do_not_set_the_scale(encoder):
    some = [handmade.network(handmade.mlp(), seed=seed) for seed in range(5)]
    huge = {name: 1e6 * some[0].source.load(name) for name in some[0].source.infos}
    found = []
    for others in ([], [Network("huge", some[0].layers, handmade.TensorsInMemory(huge))]):
        fresh = type(encoder)()
        fresh.fit_scale(fresh.prepare(some + others))
        found.append(fresh.inputs.edge_weights.spread)
    assert not torch.equal(found[0], torch.ones_like(found[0]))
    torch.testing.assert_close(found[0], found[1], rtol=0.2, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    encoder = fitted(name).train()
    encoder(encoder.collate(encoder.prepare(networks()))).square().sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_saving_memory_changes_no_gradient(name, monkeypatch):
    encoder, found = fitted(name), []
    for kept, at_once in ((1 << 30, 1 << 30), (0, 1000)):
        monkeypatch.setattr(encoder, "kept_edges", kept)
        monkeypatch.setattr(batches, "MAX_EDGES_AT_ONCE", at_once)
        encoder.zero_grad()
        batch = encoder.collate(encoder.prepare(networks() + networks()))
        rows = encoder(batch)
        rows.square().sum().backward()
        found.append((len(batch.runs), rows.detach(), [p.grad.clone() for p in encoder.parameters()]))
    assert found[0][0] < found[1][0]
    torch.testing.assert_close(found[1][1:], found[0][1:], rtol=1e-3, atol=1e-4)


def test_too_many_edges_are_refused(encoder, monkeypatch):
    monkeypatch.setattr(encoders, "MAX_EDGES", 100)
    name = NAMES[0] if "Network" in type(encoder).__name__ else NAMES[1]
    with pytest.raises(CannotTakeError, match="expected at most 100"):
        encoder.prepare(networks()[:1])
    with pytest.raises(CannotTakeError, match="expected at most 100"):
        NEURAL_BASELINES[name](networks()[:1])
    with pytest.raises(CannotTakeError, match="got no network"):
        NEURAL_BASELINES[name]([])


@pytest.mark.parametrize("name", NAMES)
def test_a_predictor_with_it_is_saved_and_loaded(name, tmp_path):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=12, known=lambda run: run % 2 == 0))
    settings = TrainingSettings(epochs=1, precision="float32")
    made = fit(
        zoo,
        ["test_accuracy"],
        split=zoo.split,
        encoder=lambda: NEURAL_BASELINES[name](zoo.networks([0, 2])),
        settings=settings,
        out=tmp_path / "predictor",
    )
    again = Predictor.load(tmp_path / "predictor", encoders=NEURAL_ENCODERS)
    some = zoo.networks(range(4))
    assert [one.value for one in again.predict(some)] == [one.value for one in made.predict(some)]


def test_waves_keep_kernels_whole():
    for positions in (1, 4, 5, 9, 16, 25, 49):
        table = waves(positions)
        torch.testing.assert_close(table @ table.T, torch.eye(positions, dtype=torch.float64))
    assert torch.equal(waves(81).norm(dim=0) > 0, torch.arange(64) < 49)
    small, large = waves(9), waves(25)
    assert (small[:, 0] - 1 / 3).abs().max() < 1e-12 and (large[:, 0] - 1 / 5).abs().max() < 1e-12


def one_graph(dim: int, edge_dim: int):
    """A small graph in double precision: a plan, nodes, edges."""
    torch.manual_seed(3)
    some = [handmade.network(handmade.mlp((3, 4, 4, 2)), seed=seed) for seed in range(2)]
    (run,) = fitted("graph_network").collate(fitted("graph_network").prepare(some)).runs
    nodes = torch.randn(2, int(run.plan.set_sizes.sum()), dim, dtype=torch.float64)
    edges = [torch.randn(2, *stack.shape[:3], edge_dim, dtype=torch.float64) for stack in run.plan.edges]
    return run.plan, nodes, edges


def single_edges(plan, edges, network: int):
    """Yields each edge: its block, the written node, the read node and its vector."""
    for stack, edge in zip(plan.edges, edges, strict=True):
        blocks, num_to, num_from, _ = stack.shape
        for block in range(blocks):
            for to in range(num_to):
                for source in range(num_from):
                    ends = stack.to_nodes[block * num_to + to], stack.from_nodes[block * num_from + source]
                    yield (stack, block), int(ends[0]), int(ends[1]), edge[network, block, to, source]


def test_messages_agree_with_a_loop():
    plan, nodes, edges = one_graph(6, 5)
    layer = MessageLayer(6, 5, 4, dropout=0.0, is_last=False).double()
    found, changed = layer(nodes, [edge.movedim(-1, 2) for edge in edges], plan)
    changed = [edge.movedim(2, -1) for edge in changed]
    width = 4
    for network in range(2):
        normed = layer.norm(nodes[network])
        written, read, writes, reads = layer.from_nodes(normed).chunk(4, -1)
        gathered = [torch.zeros(len(normed), 2 * width, dtype=torch.float64) for _ in range(2)]
        counts = [[set() for _ in normed] for _ in range(2)]
        news = []
        for (stack, block), to, source, edge in single_edges(plan, edges, network):
            message = silu(layer.from_edges(edge) + written[to] + read[source])
            news.append(edge + layer.to_edges(message))
            gathered[0][to] += torch.cat([message, message * reads[source]]) / stack.shape[2]
            gathered[1][source] += torch.cat([message, message * writes[to]]) / stack.shape[1]
            counts[0][to].add((id(stack), block))
            counts[1][source].add((id(stack), block))
        scaled = [
            one / torch.tensor([math.sqrt(max(len(blocks), 1)) for blocks in count])[:, None]
            for one, count in zip(gathered, counts, strict=True)
        ]
        expected = nodes[network] + layer.update(torch.cat([normed, *scaled], -1))
        torch.testing.assert_close(found[network], expected)
        torch.testing.assert_close(torch.cat([one[network].flatten(0, 2) for one in changed]), torch.stack(news))


def test_attention_agrees_with_a_loop():
    plan, nodes, edges = one_graph(6, 5)
    heads, hidden = 2, 8
    attention = EdgeAttention(6, 5, hidden, heads).double()
    blocks = [(stack.to_nodes, stack.from_nodes, edge) for stack, edge in zip(plan.edges, edges, strict=True)]
    found = attention(nodes, blocks)
    for network in range(2):
        query, edge_query = attention.queries(nodes[network]).split([hidden, heads * 5], -1)
        key, value, gate = attention.keys(nodes[network]).split([hidden, hidden, 5], -1)
        of_node: dict[int, list[tuple[int, torch.Tensor]]] = {}
        for _, to, source, edge in single_edges(plan, edges, network):
            of_node.setdefault(to, []).append((source, edge))
        for node in range(nodes.shape[1]):
            pooled = []
            for head in range(heads):
                own, of_edges = slice(4 * head, 4 * head + 4), slice(5 * head, 5 * head + 5)
                logits, values = [], []
                for source, edge in of_node.get(node, []):
                    logit = (query[node, own] @ key[source, own] + edge_query[node, of_edges] @ edge) / 2
                    logits.append(LARGEST_LOGIT * torch.tanh(logit / LARGEST_LOGIT))
                    values.append(torch.cat([value[source, own], edge, edge * gate[source]]))
                pooled.append(
                    torch.stack(logits).softmax(0) @ torch.stack(values)
                    if logits
                    else torch.zeros(14, dtype=torch.float64)
                )
            torch.testing.assert_close(found[network, node], attention.out(torch.cat(pooled)))
