"""Trees of descent: what each network is to its parent, and that the zoo does not depend on interruptions."""

import numpy as np
import pytest
import torch

from sne.errors import ZooError
from sne.making import FAMILIES, load_images, make
from sne.making.descent import ROOTS, make_trees
from sne.making.descent.changes import mean_of, pruned, quantised, rounded, with_update_of_rank, without_units
from sne.making.families.mlp import MLP_FAMILY
from sne.making.families.overriding import override
from sne.work import InThisProcess

FIXED = {
    "depth": 2, "width": 24, "taper": 1.0, "activation": "relu", "optimizer": "adam", "learning_rate": 5e-3,
    "dropout": 0.0, "init": "glorot_normal",
}  # fmt: skip


def small_trees(path, *, other="digits", trees=1, steps=6):
    return make_trees(
        path,
        families=["mlp"],
        spaces={"mlp": override(FAMILIES["mlp"], FIXED, "mlp").space},
        images="digits",
        other_images=other,
        trees=trees,
        steps=steps,
        executor=InThisProcess(),
        eval_images=50,
    )


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return small_trees(tmp_path_factory.mktemp("trees") / "zoo")


def test_every_network_names_its_parents(zoo):
    ids, kinds = list(zoo.ids), zoo.column("kind")
    parents = [
        [name for name in (zoo.column(c)[row] for c in ("parent", "other_parent")) if name] for row in range(len(ids))
    ]
    for row, (kind, names) in enumerate(zip(kinds, parents, strict=True)):
        assert len(names) == (0 if kind in ROOTS else 2 if kind == "merged" else 1)
        assert all(ids.index(name) < row for name in names)
    assert sorted(set(kinds[row] for row in range(len(ids)) if not parents[row])) == sorted(ROOTS)
    assert len(set(zoo.runs)) == 1


def test_networks_of_a_tree_are_what_their_kind_says(zoo):
    states = {
        str(zoo.column("node")[row]): {
            name: zoo.network(row).source.load(name) for name in zoo.network(row).source.infos
        }
        for row in range(len(zoo))
    }
    root = states["root"]
    for share in (30, 60, 90):
        made = states[f"pruned {share}%"]
        for name, values in root.items():
            kept = made[name] != 0
            assert torch.equal(made[name][kept], values[kept])
            if values.ndim > 1:
                assert float((~kept).float().mean()) == pytest.approx(share / 100, abs=0.01)
    assert torch.equal(states["half"]["layers.0.weight"], root["layers.0.weight"].half().float())
    changed = [name for name in root if not torch.equal(states["head"][name], root[name])]
    assert changed == ["layers.2.weight", "layers.2.bias"]
    step = 0.6 * states["tuned long"]["layers.0.weight"] + 0.4 * states["other"]["layers.0.weight"]
    assert torch.allclose(states["merge"]["layers.0.weight"], step)
    for rank in (1, 2, 4):
        change = states[f"rank {rank}"]["layers.0.weight"] - root["layers.0.weight"]
        assert int((torch.linalg.svdvals(change) > 1e-5).sum()) == rank


def test_copies_with_moved_units_have_the_same_outputs(zoo):
    images = load_images("digits")
    inputs = images.scale(images.x_test[:16])
    outputs = {}
    for row in range(len(zoo)):
        node = str(zoo.column("node")[row])
        if node in ("root", "permuted", "rescaled", "twin"):
            module = MLP_FAMILY.module(FIXED, images.shape, images.num_classes)
            source = zoo.network(row).source
            module.load_state_dict({name: source.load(name) for name in source.infos})
            outputs[node] = module.eval()(inputs)
    assert torch.allclose(outputs["root"], outputs["permuted"], atol=1e-4)
    assert torch.allclose(outputs["root"], outputs["rescaled"], atol=1e-4)
    assert not torch.allclose(outputs["root"], outputs["twin"], atol=1e-2)


def test_trees_are_the_same_when_made_again(zoo, tmp_path):
    again = small_trees(tmp_path / "zoo")
    assert again.table.column("checksum").equals(zoo.table.column("checksum"))


def test_a_zoo_of_trees_is_not_continued_with_other_images(zoo, tmp_path):
    digits = load_images("digits")
    arrays = {
        name: getattr(digits, name).numpy()[:, 0] if name[0] == "x" else getattr(digits, name).numpy()
        for name in ("x_train", "y_train", "x_test", "y_test")
    }
    np.savez(tmp_path / "other.npz", **{**arrays, "x_train": arrays["x_train"][::-1].copy()})
    with pytest.raises(ZooError, match=r"zoo of another recipe \(different descent\); choose a new folder"):
        small_trees(zoo.path, other=tmp_path / "other.npz")
    with pytest.raises(ZooError, match=r"zoo of another recipe \(different .*descent"):
        make(zoo.path, families=["mlp"], images="digits", networks=1, steps=6, keep=[6])


def test_images_of_another_size_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"{what}_{part}": rng.integers(0, 255, (20, 9, 9), dtype=np.uint8) if what == "x" else np.arange(20) % 10
        for what in "xy"
        for part in ("train", "test")
    }
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ZooError, match=r"expected .* as in digits"):
        small_trees(tmp_path / "zoo", other=tmp_path / "other.npz")


def test_changes_of_states():
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(8, 16), "a.bias": torch.randn(8), "b.weight": torch.randn(4, 8)}
    assert int((pruned(state, 0.25)["a.weight"] == 0).sum()) == 32
    gone = without_units(state, 0.25)
    rows = (gone["a.weight"] == 0).all(1)
    assert (
        int(rows.sum()) == 2
        and bool((gone["a.bias"][rows] == 0).all())
        and torch.equal(gone["b.weight"], state["b.weight"])
    )
    assert len(quantised(state, 4)["a.weight"][0].unique()) <= 15
    assert torch.equal(rounded(state, torch.bfloat16)["a.bias"], state["a.bias"].bfloat16().float())
    tuned = {name: values + torch.randn_like(values) for name, values in state.items()}
    adapted = with_update_of_rank(state, tuned, 2)
    assert int((torch.linalg.svdvals(adapted["a.weight"] - state["a.weight"]) > 1e-5).sum()) == 2
    assert torch.equal(adapted["b.weight"], state["b.weight"]) and torch.equal(adapted["a.bias"], state["a.bias"])
    assert torch.allclose(mean_of(state, tuned, 0.25)["a.bias"], 0.25 * state["a.bias"] + 0.75 * tuned["a.bias"])
