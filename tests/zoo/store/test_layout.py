import json
import math

import pytest
import torch

from sne.zoo import Layout, ZooError
from sne.zoo.store.descriptions import Layouts, write_layouts
from sne.zoo.store.layout import flatten, unflatten


def test_flatten_and_back():
    state = {
        "b": torch.randn(3, 2),
        "a": torch.randn(4).to(torch.float16),
        "steps": torch.tensor(7),
        "s": torch.tensor(2.5),
    }
    layout, vector = flatten(state)
    assert [slot.name for slot in layout.slots] == ["b", "a", "s"]
    assert layout.num_entries == len(vector) == 11
    back = unflatten(layout, vector)
    for name in ("b", "a", "s"):
        assert torch.equal(back[name], state[name].float())
    assert Layout.from_json(layout.to_json()) == layout


def test_id_is_of_the_content():
    one, _ = flatten({"a": torch.zeros(2, 3)})
    same, _ = flatten({"a": torch.ones(2, 3)})
    other, _ = flatten({"a": torch.zeros(3, 2)})
    assert one.id == same.id != other.id


@pytest.mark.parametrize(
    "values",
    [
        7,
        [{"name": "a"}],
        [{"name": "a", "shape": [2], "dtype": "float32", "offset": 1}],
        [{"name": "a", "shape": [-2], "dtype": "float32", "offset": 0}],
        [{"name": "a", "shape": "x", "dtype": "float32", "offset": 0}],
        [{"name": "a", "shape": [math.inf], "dtype": "float32", "offset": 0}],
    ],
)
def test_bad_layouts_are_refused(values):
    with pytest.raises(ZooError, match=r"layouts\.json"):
        Layout.from_json(values, "layouts.json")


def test_unflatten_checks_the_length():
    layout, vector = flatten({"a": torch.zeros(4)})
    with pytest.raises(ZooError, match="3 entries"):
        unflatten(layout, vector[:3])


@pytest.mark.parametrize("as_lines", [True, False])
def test_layouts_are_read_one_by_one(tmp_path, as_lines):
    made = [flatten({"a": torch.zeros(size)})[0] for size in (2, 3)]
    path = tmp_path / "layouts.json"
    write_layouts(path, {layout.id: layout for layout in made})
    values = json.loads(path.read_text())
    if not as_lines:
        path.write_text(json.dumps(values, indent=1))
    layouts = Layouts.load(path)
    assert list(layouts) == [layout.id for layout in made] and len(layouts) == 2
    assert [layouts[layout.id] for layout in made] == made and "x" not in layouts
    values[made[0].id] = [{"name": 3}]
    path.write_text(json.dumps(values))
    layouts = Layouts.load(path)
    assert layouts[made[1].id] == made[1]
    with pytest.raises(ZooError, match=made[0].id):
        layouts[made[0].id]
    with pytest.raises(KeyError):
        layouts["x"]
