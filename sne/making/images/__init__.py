"""Image sets to train zoos on: embedded digits, .npz files, folders, Hugging Face data sets."""

from sne.making.images.image_set import NORMALISATIONS as NORMALISATIONS
from sne.making.images.image_set import ImageSet as ImageSet
from sne.making.images.loading import load_images as load_images
from sne.making.images.preparing import CHANNELS as CHANNELS
