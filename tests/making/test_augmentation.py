"""Random changes of training images."""

import torch

from sne.making.augmentation import AUGMENTATIONS, augment
from sne.making.hashing import key_of

BATCH, SIDE = 400, 7


def images_of(networks=1):
    """Images whose pixels name their own place, in two channels: row and column."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([rows, columns]).float().expand(networks, BATCH, 2, SIDE, SIDE)


def keys_of(*seeds):
    return torch.cat([key_of(seed, "cpu") for seed in seeds])


def changes(kind, step=1):
    """How far down and right each image moved, and whether it was reflected, read from its middle."""
    found = augment(images_of(), keys_of(3), kind, step)[0]
    middle = SIDE // 2
    reflected = found[:, 1, middle, middle + 1] < found[:, 1, middle, middle]
    down = found[:, 0, middle, middle] - middle
    right = found[:, 1, middle, middle] - middle
    return found, down, right, reflected


def test_moves_and_reflections():
    for kind in AUGMENTATIONS[1:]:
        found, down, right, reflected = changes(kind)
        assert set(down.tolist()) == set(right.tolist()) == {-2, -1, 0, 1, 2}
        assert abs(float(down.mean())) < 0.25 and abs(float(right.mean())) < 0.25
        assert len({*zip(down.tolist(), right.tolist(), strict=True)}) == 25
        assert 0.4 < float(reflected.float().mean()) < 0.6 if kind == "crop_flip" else not reflected.any()
        for image, row, column, is_reflected in zip(found, down, right, reflected, strict=True):
            places = torch.arange(SIDE)
            seen = (places - column).flip(0) + 2 * column if is_reflected else places + column
            expected = torch.stack(
                [
                    (places + row).clamp(0, SIDE - 1)[:, None].expand(SIDE, SIDE),
                    seen.clamp(0, SIDE - 1).expand(SIDE, SIDE),
                ]
            )
            assert torch.equal(image, expected)


def test_each_network_and_step_has_its_own_changes():
    together = augment(images_of(2), keys_of(3, 4), "crop_flip", 5)
    for place, seed in enumerate((3, 4)):
        assert torch.equal(augment(images_of(), keys_of(seed), "crop_flip", 5)[0], together[place])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(augment(images_of(), keys_of(3), "crop_flip", 6)[0], together[0])
