"""Image sets to train zoos on: embedded digits, .npz files, folders, Hugging Face data sets."""

from sne.zoo.images.image_set import ImageSet as ImageSet
from sne.zoo.images.loading import load_images as load_images
from sne.zoo.images.normalising import NORMALISATIONS as NORMALISATIONS
from sne.zoo.images.preparing import CHANNELS as CHANNELS
