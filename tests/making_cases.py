"""What tests of making share: recipes of tiny zoos, and what "the same zoo" means."""

from pathlib import Path

from sne.zoo import Recipe, Zoo, load_images
from sne.zoo.images import ImageSet

LENGTH = {"steps": 12, "keep": [0, 4, 12]}
FAMILIES = ["small_cnn", "mlp"]


def tiny_recipe(image_file: Path, **changes) -> tuple[Recipe, ImageSet]:
    images = load_images(image_file)
    settings = {
        "families": ("mlp",), "images": images.name, "images_checksum": images.checksum, "image_size": None,
        "networks": 4, "length": 6, "unit": "steps", "keep": (6,), "eval_images": 50, "seed": 3,
    }  # fmt: skip
    return Recipe(**(settings | changes)), images


def assert_same_bytes(one: Zoo, two: Zoo):
    """Every file, but the one that says how long it took."""
    names = {path.name for path in one.path.iterdir()}
    assert names == {path.name for path in two.path.iterdir()}
    assert {"networks.parquet", "layouts.json", "recipe.json", "weights-00000.safetensors"} <= names
    for name in names - {"timings.parquet"}:
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes(), name
