"""The digits that come with scikit-learn: 1,297 training and 500 test images, no download."""

import numpy as np
import torch

from sne.making.images.image_set import ImageSet
from sne.making.images.preparing import Form

DIGITS = "digits"
_SIZE = 20  # scikit-learn's 8 x 8, enlarged: every family takes 20


def read_digits(form: Form) -> ImageSet:
    """Reads the digits.

    Args:
        form: of the images; without a size they are enlarged to 20 x 20.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels).reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    x = Form(form.size or _SIZE, form.channels).apply(torch.from_numpy(images[order]), DIGITS)
    y = torch.from_numpy(np.asarray(labels)[order].astype(np.int64))
    return ImageSet(DIGITS, x[:1297], y[:1297], x[1297:], y[1297:], tuple("0123456789"))
