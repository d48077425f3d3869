"""Signals of small networks, neuron by neuron in double precision: the layers' equations, then each feature's.

Weights are nested lists. `Record` holds what one layer reads and answers; `features` turns a record into numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from oracles import images_by_loop
from oracles.descriptors_by_loop import compressed, deviation, mean

Vector = list[float]
Matrix = list[list[float]]

PROBES = [-1.0 + i / 4 for i in range(9)]
SMALL = 1e-12
FLOOR = 1e-3
STEPS = 4


@dataclass
class Record:
    """One layer: its weights, its answers for each activation and probe, the gains it reads, the layer before it.

    `images` are its answers for each image, if it is told any.
    """

    weight: Matrix
    answers: dict[str, list[Vector]]
    gains: Vector
    before: tuple[Matrix, Vector] | None
    images: list[Vector] = field(default_factory=list)


def relu(x: float) -> float:
    return max(x, 0.0)


ACTIVATIONS: dict[str, Callable[[float], float]] = {"relu": relu, "tanh": math.tanh}


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def linear(weight: Matrix, bias: Vector, x: Vector) -> Vector:
    return [dot(row, x) + b for row, b in zip(weight, bias, strict=True)]


def add(a: Vector, b: Vector) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def layer_norm(scale: Vector, bias: Vector, x: Vector) -> Vector:
    spread = math.sqrt(mean([(value - mean(x)) ** 2 for value in x]) + 1e-5)
    return [(value - mean(x)) / spread * s + b for value, s, b in zip(x, scale, bias, strict=True)]


def gains_behind(weight: Matrix, gains: Vector) -> Vector:
    """Expected squares of a layer's outputs for independent inputs, as shares of their sum."""
    squares = [sum(w * w * g for w, g in zip(row, gains, strict=True)) for row in weight]
    return [square / sum(squares) for square in squares]


def transformer(get: Callable[[str], list], names: dict[str, str], num_blocks: int) -> dict[str, Record]:
    """A pre-norm transformer on equal tokens: attention then averages equal values, and is the value projection.

    Args:
        get: Reads a tensor by name.
        names: Names of the layers in a block: query, key, value, out, norm1, norm2, up, down; with {} for the block.
        num_blocks: Number of blocks between the layers "embed" and "head", which follows the norm "norm".
    """
    records: dict[str, Record] = {}

    def read(layer: str) -> tuple[list, Vector]:
        return get(f"{layer}.weight"), get(f"{layer}.bias")

    def apply(layer: str, x: dict[str, list[Vector]], gains: Vector, before: str | None) -> dict[str, list[Vector]]:
        weight, bias = read(layer)
        answers = {act: [linear(weight, bias, values) for values in probes] for act, probes in x.items()}
        records[layer] = Record(weight, answers, gains, None if before is None else read(before))
        return answers

    def each(function: Callable, *streams: dict[str, list]) -> dict[str, list]:
        return {
            act: [function(*values) for values in zip(*(s[act] for s in streams), strict=True)] for act in streams[0]
        }

    def norm(layer: str, x: dict[str, list[Vector]]) -> dict[str, list[Vector]]:
        return each(lambda values: layer_norm(*read(layer), values), x)

    width = len(get("embed.weight")[0])
    inputs = {act: [[level] * width for level in PROBES] for act in ACTIVATIONS}
    stream, last = apply("embed", inputs, [1 / width] * width, None), "embed"
    gains = gains_behind(get("embed.weight"), [1 / width] * width)
    for block in range(num_blocks):
        at = {role: name.format(block) for role, name in names.items()}
        normed = norm(at["norm1"], stream)
        apply(at["query"], normed, gains, last)
        apply(at["key"], normed, gains, last)
        values = apply(at["value"], normed, gains, last)
        gains = gains_behind(get(f"{at['value']}.weight"), gains)
        stream = each(add, stream, apply(at["out"], values, gains, at["value"]))
        gains = gains_behind(get(f"{at['out']}.weight"), gains)
        hidden = apply(at["up"], norm(at["norm2"], stream), gains, at["out"])
        gains = gains_behind(get(f"{at['up']}.weight"), gains)
        active = {act: [[ACTIVATIONS[act](v) for v in values] for values in hidden[act]] for act in hidden}
        stream = each(add, stream, apply(at["down"], active, gains, at["up"]))
        gains = gains_behind(get(f"{at['down']}.weight"), gains)
        last = at["down"]
    apply("head", norm("norm", stream), gains, last)
    return records


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


GATES = {"GRU": ("reset", "update", "new"), "LSTM": ("input", "forget", "cell", "output"), "RNN": ("",)}


def recurrent(cell: str, get: Callable[[str], list], images: list[Matrix]) -> dict[str, Record]:
    """One recurrent layer "rnn" that starts from a zero state, and a layer "head" that reads its last state.

    Args:
        cell: "GRU", "LSTM" or "RNN".
        get: Reads a tensor by name.
        images: Images whose rows the layer reads, one after the other; uniform inputs are read for `STEPS` steps.
    """
    gates = GATES[cell]
    size = len(get("rnn.weight_hh_l0")) // len(gates)

    def piece(name: str, gate: str) -> list:
        start = gates.index(gate) * size
        return get(f"rnn.{name}_l0")[start : start + size]

    def run(steps: list[Vector]) -> tuple[dict[str, Vector], Vector]:
        """Values of the gates in the last step, and the state after it."""
        state, memory = [0.0] * size, [0.0] * size
        values: dict[str, Vector] = {}
        for step in steps:
            into = {g: linear(piece("weight_ih", g), piece("bias_ih", g), step) for g in gates}
            back = {g: linear(piece("weight_hh", g), piece("bias_hh", g), state) for g in gates}
            values = {g: add(into[g], back[g]) for g in gates}
            if cell == "GRU":
                for i in range(size):
                    values["new"][i] = into["new"][i] + sigmoid(values["reset"][i]) * back["new"][i]
                for i in range(size):
                    z = sigmoid(values["update"][i])
                    state[i] = (1 - z) * math.tanh(values["new"][i]) + z * state[i]
            elif cell == "LSTM":
                for i in range(size):
                    kept = sigmoid(values["forget"][i]) * memory[i]
                    memory[i] = kept + sigmoid(values["input"][i]) * math.tanh(values["cell"][i])
                    state[i] = sigmoid(values["output"][i]) * math.tanh(memory[i])
            else:
                state = [math.tanh(value) for value in values[""]]
        return values, state

    num_in = len(get("rnn.weight_ih_l0")[0])
    uniform = [run([[level] * num_in] * STEPS) for level in PROBES]
    seen = [run(rows) for rows in images]
    records = {
        gate: Record(
            piece("weight_ih", gate),
            {act: [values[gate] for values, _ in uniform] for act in ACTIVATIONS},
            [1 / num_in] * num_in,
            None,
            [values[gate] for values, _ in seen],
        )
        for gate in gates
    }
    # The state has no activation of its own, and no bias; its incoming matrix is that of the gate that carries it.
    carrier = {"GRU": "new", "LSTM": "cell", "RNN": ""}[cell]
    head = get("head.weight"), get("head.bias")
    answers, of_images = ([linear(*head, state) for _, state in runs] for runs in (uniform, seen))
    before = (piece("weight_ih", carrier), [0.0] * size)
    records["head"] = Record(head[0], dict.fromkeys(ACTIVATIONS, answers), [1 / size] * size, before, of_images)
    return records


def response(answers: list[Vector]) -> Vector:
    """`answers[probe][neuron]`."""
    everything = [value for values in answers for value in values]
    neurons = [list(column) for column in zip(*answers, strict=True)]
    magnitude = mean([abs(value) for value in everything])
    over_neurons = max(mean([deviation(values) for values in answers]), 1e-6 * magnitude)
    over_probes = max(mean([deviation(values) for values in neurons]), 1e-6 * magnitude)
    return [
        compressed(magnitude, FLOOR),
        compressed(over_neurons, FLOOR),
        compressed(over_probes, FLOOR),
        4 * mean([float(value <= 0) for value in everything]),
        4 * mean([float(abs(value) > 2) for value in everything]),
        compressed(mean(everything), FLOOR),
        math.log((over_probes + SMALL) / (magnitude + SMALL) + FLOOR),
        4 * mean([float(max(values) <= 0) for values in neurons]),
    ]


def growth(record: Record) -> Vector:
    squares = [sum(w * w * g for w, g in zip(row, record.gains, strict=True)) for row in record.weight]
    logs = [math.log(square / mean(squares) + FLOOR) for square in squares]
    return [0.5 * math.log(mean(squares) * len(record.gains) + SMALL), deviation(logs)]


def correlation(a: Vector, b: Vector) -> float:
    a, b = [x - mean(a) for x in a], [y - mean(b) for y in b]
    return dot(a, b) / (math.sqrt(dot(a, a) * dot(b, b)) + 1e-6)


def norm_match(record: Record) -> Vector:
    if record.before is None:
        return [0.0] * 9
    feeds, bias = record.before
    written = [math.sqrt(dot(row, row)) for row in feeds]
    read = [math.sqrt(sum(row[i] ** 2 for row in record.weight)) for i in range(len(feeds))]
    log_written, log_read = ([math.log(norm + 1e-6) for norm in norms] for norms in (written, read))
    ratio = [compressed(b / (norm + 1e-6), FLOOR) for b, norm in zip(bias, written, strict=True)]
    return [
        1.0,
        correlation(log_read, log_written),
        correlation(log_read, bias),
        correlation(log_written, bias),
        mean(ratio),
        deviation(ratio),
        min(ratio),
        max(ratio),
        deviation(add(log_read, log_written)),
    ]


def product(a: Matrix, b: Matrix) -> Matrix:
    return [[dot(row, [other[j] for other in b]) for j in range(len(b[0]))] for row in a]


def frobenius(matrix: Matrix) -> float:
    return math.sqrt(sum(value**2 for row in matrix for value in row))


def subspaces(record: Record) -> Vector:
    if record.before is None:
        return [0.0] * 18
    feeds = record.before[0]
    reads = [[row[i] for row in record.weight] for i in range(len(feeds))]
    count = len(feeds)
    grams = [[[dot(row, other) for other in rows] for row in rows] for rows in (feeds, reads)]
    features = []
    for power in (1, 2, 4):
        written, read = grams
        for _ in range(power - 1):
            written, read = product(written, grams[0]), product(read, grams[1])
        written, read = ([[v / frobenius(matrix) for v in row] for row in matrix] for matrix in (written, read))
        diagonals = [[matrix[i][i] for i in range(count)] for matrix in (written, read)]
        features += [
            4 * sum(dot(a, b) for a, b in zip(written, read, strict=True)),
            sum(sum(row) for row in written) / count,
            sum(sum(row) for row in read) / count,
            math.sqrt(dot(diagonals[0], diagonals[0])),
            math.sqrt(dot(diagonals[1], diagonals[1])),
            max(diagonals[0]),
        ]
    return features


def features(record: Record) -> Vector:
    """All signal features of a layer, in the order of `sne.encoders.layer_signals.SIGNAL_NAMES`."""
    responses = response(record.answers["relu"]) + response(record.answers["tanh"])
    images = images_by_loop.features(record.images)
    return responses + images + growth(record) + norm_match(record) + subspaces(record)
