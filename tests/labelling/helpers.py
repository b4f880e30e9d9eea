"""A model without networks, and images for it."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from masqclip_d2 import Vocabulary
from masqclip_d2.labelling.sources import ImageSource
from masqclip_d2.labelling.worker import Job
from masqclip_d2.results import Segment, Segmentation

CATS = Vocabulary.from_names("cat")


class Model:
    """Finds a cat in the upper left pixel; remembers the batches it gets."""

    cfg = SimpleNamespace(INPUT=SimpleNamespace(MAX_MEGAPIXELS=178))

    def __init__(self):
        self.batches = []

    def prepare(self, vocabulary, **settings):
        self.settings = settings

    def batch(self, images, vocabulary, batch_size, task, confidence_threshold):
        self.batches.append([int(image[0, 0, 0]) for image in images])
        return [self.result(image, vocabulary, task) for image in images]

    def result(self, image, vocabulary, task):
        mask = np.zeros(image.shape[:2], dtype=bool)
        mask[0, 0] = True
        return Segmentation(image, vocabulary, task, [Segment("cat", 0, True, 0.9, mask)])


def write_images(folder, count):
    """PNGs of one color, which is their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (4, 3), (index, 0, 0)).save(folder / f"{index}.png")
    return tuple(ImageSource(str(folder / f"{index}.png"), f"{index}.png") for index in range(count))


def job(output, formats=("coco",), **options):
    return Job(output, CATS, formats, **options)
