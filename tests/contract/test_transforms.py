"""detectron2.data.transforms: sizes, coordinates and random draws."""

import numpy as np
import pytest
from detectron2.data import transforms as T

import masqclip_d2


@pytest.fixture(autouse=True)
def _numpy_seed():
    np.random.seed(0)


def image_of(height, width, channels=3):
    return (np.arange(height * width * channels) % 251).reshape(height, width, channels).astype(np.uint8)


class TestResizeTransform:
    def test_uint8(self):
        resize = T.ResizeTransform(4, 6, 2, 3)
        assert resize.apply_image(np.full((4, 6, 3), 7, np.uint8)).tolist() == np.full((2, 3, 3), 7).tolist()
        assert resize.apply_image(image_of(4, 6, 1)).shape == (2, 3, 1)
        assert resize.apply_image(image_of(4, 6)[:, :, 0]).shape == (2, 3)

    def test_float(self):
        # Bilinear without antialiasing: output pixel 0 is centered between input pixels 0 and 1.
        row = np.array([[0.0, 1, 2, 3, 4, 5]], dtype=np.float32).repeat(4, axis=0)
        resized = T.ResizeTransform(4, 6, 2, 3).apply_image(row)
        assert resized.dtype == np.float32
        assert resized.tolist() == [[0.5, 2.5, 4.5]] * 2
        assert T.ResizeTransform(4, 6, 2, 3).apply_image(row[:, :, None]).shape == (2, 3, 1)

    def test_segmentation_is_not_interpolated(self):
        labels = np.array([[0, 0, 255, 255]] * 4, dtype=np.uint8)
        resized = T.ResizeTransform(4, 4, 7, 9).apply_segmentation(labels)
        assert resized.shape == (7, 9) and set(np.unique(resized)) == {0, 255}

    @pytest.mark.skipif(masqclip_d2.detectron2_backend().kind == "real", reason="torch cannot resize integers")
    def test_segmentation_of_any_type(self):
        labels = np.arange(8).reshape(2, 4) * 70000
        resized = T.ResizeTransform(2, 4, 1, 2).apply_segmentation(labels)
        assert resized.dtype == labels.dtype and resized.tolist() == [[0, 140000]]

    def test_coordinates_and_inverse(self):
        resize = T.ResizeTransform(10, 20, 5, 60)
        assert resize.apply_coords(np.array([[4.0, 4.0], [20, 10]])).tolist() == [[12, 2], [60, 5]]
        assert resize.apply_box(np.array([[1.0, 2, 3, 4]])).tolist() == [[3, 1, 9, 2]]
        back = resize.inverse()
        assert back.apply_coords(np.array([[12.0, 2.0]])).tolist() == [[4, 4]]
        assert back.apply_image(image_of(5, 60)).shape == (10, 20, 3)

    def test_wrong_size(self):
        with pytest.raises(AssertionError):
            T.ResizeTransform(4, 6, 2, 3).apply_image(image_of(6, 4))


@pytest.mark.parametrize(
    ("aug", "size"),
    [
        (T.ResizeShortestEdge(50), (50, 75)),
        (T.ResizeShortestEdge([50, 50], 60), (40, 60)),
        (T.ResizeShortestEdge([50], sample_style="choice"), (50, 75)),
        (T.ResizeShortestEdge(33), (33, 50)),  # 49.5, rounded half up
        (T.ResizeShortestEdge(0), (100, 150)),
        (T.Resize(20), (20, 20)),
        (T.Resize((20, 30)), (20, 30)),
        (T.ResizeScale(1.0, 1.0, 50, 60), (40, 60)),
        (T.ResizeScale(2.0, 2.0, 50, 90), (100, 150)),
        (T.FixedSizeCrop((40, 30)), (40, 30)),
        (T.FixedSizeCrop((120, 30)), (120, 30)),
        (T.FixedSizeCrop((120, 30), pad=False), (100, 30)),
        (T.RandomCrop("absolute", (40, 200)), (40, 150)),
        (T.RandomCrop("relative", (0.5, 0.25)), (50, 38)),
        (T.RandomFlip(), (100, 150)),
    ],
)
def test_sizes(aug, size):
    aug_input = T.AugInput(image_of(100, 150), sem_seg=image_of(100, 150)[:, :, 0])
    transform = aug(aug_input)
    assert isinstance(transform, T.Transform)
    assert aug_input.image.shape == (*size, 3) and aug_input.sem_seg.shape == size
    if size == (100, 150):
        assert np.isin(aug_input.image[0, 0], [0, 1, 2, *image_of(100, 150)[0, -1]]).all()


def test_random_sizes_stay_in_their_ranges():
    draws = {T.ResizeShortestEdge((10, 13)).get_transform(image_of(20, 20)).new_h for _ in range(60)}
    assert draws == {10, 11, 12, 13}
    draws = {
        T.ResizeShortestEdge((10, 13, 17), sample_style="choice").get_transform(image_of(20, 20)).new_h
        for _ in range(60)
    }
    assert draws == {10, 13, 17}
    crops = [T.RandomCrop("absolute_range", (5, 8)).get_crop_size((20, 7)) for _ in range(100)]
    assert {h for h, _ in crops} == {5, 6, 7, 8} and {w for _, w in crops} == {5, 6, 7}
    crops = [T.RandomCrop("relative_range", (0.5, 0.8)).get_crop_size((100, 10)) for _ in range(100)]
    assert 50 <= min(crops)[0] < max(crops)[0] <= 100 and {w for _, w in crops} == {8, 9, 10}


def test_flips():
    image = image_of(4, 6)
    for aug, flipped in (
        (T.RandomFlip(prob=1.0), image[:, ::-1]),
        (T.RandomFlip(prob=1.0, horizontal=False, vertical=True), image[::-1]),
        (T.RandomFlip(prob=0.0), image),
    ):
        assert np.array_equal(aug.get_transform(image).apply_image(image), flipped)
    for both in (True, False):
        with pytest.raises(ValueError):
            T.RandomFlip(horizontal=both, vertical=both)
    flips = [isinstance(T.RandomFlip(0.25).get_transform(image), T.HFlipTransform) for _ in range(1000)]
    assert 200 < sum(flips) < 300


def test_fixed_size_crop_pads_right_and_below():
    aug_input = T.AugInput(np.zeros((4, 6, 3), np.uint8), sem_seg=np.zeros((4, 6), np.uint8))
    T.FixedSizeCrop((6, 8))(aug_input)
    assert (aug_input.image[4:] == 128).all() and (aug_input.image[:, 6:] == 128).all()
    assert (aug_input.sem_seg[4:] == 255).all() and (aug_input.sem_seg[:4, :6] == 0).all()


def test_crop_moves_boxes_with_pixels():
    image = np.zeros((30, 40, 3), np.uint8)
    image[10:14, 20:26] = 255
    for _ in range(20):
        aug_input = T.AugInput(image.copy(), boxes=np.array([[20.0, 10, 26, 14]]))
        T.RandomCrop("absolute", (25, 36))(aug_input)
        ys, xs = aug_input.image[:, :, 0].nonzero()
        assert aug_input.boxes.tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]


def test_crop_with_category_constraint():
    labels = np.zeros((20, 40), np.uint8)
    labels[:, 20:] = 1  # half and half
    aug = T.RandomCrop_CategoryAreaConstraint("absolute", (10, 20), single_category_max_area=0.9)
    largest = []
    for _ in range(50):
        aug_input = T.AugInput(image_of(20, 40), sem_seg=labels)
        aug(aug_input)
        assert aug_input.sem_seg.shape == (10, 20)
        largest.append(np.bincount(aug_input.sem_seg.ravel()).max() / 200)
    assert np.mean(np.array(largest) < 0.9) > 0.95, "at most ten tries, so a rare crop may break the rule"
    ignored = T.RandomCrop_CategoryAreaConstraint("absolute", (10, 20), 0.9, ignored_category=1)
    assert isinstance(ignored.get_transform(image_of(20, 40), labels), T.CropTransform), "gives up after ten tries"


def test_augmentation_gets_what_its_parameters_name():
    class Recorder(T.Augmentation):
        def get_transform(self, sem_seg, extra):
            self.seen = (sem_seg, extra)
            return T.NoOpTransform()

    class OneParameter(T.Augmentation):
        def get_transform(self, whatever):
            assert whatever.shape == (2, 3, 3)
            return T.NoOpTransform()

    aug_input = T.AugInput(image_of(2, 3), sem_seg=np.zeros((2, 3), np.uint8))
    aug_input.extra = "x"
    recorder = Recorder()
    recorder(aug_input)
    assert recorder.seen[0] is aug_input.sem_seg and recorder.seen[1] == "x"
    OneParameter()(aug_input)
    del aug_input.extra
    with pytest.raises(AttributeError):
        recorder(aug_input)


def test_lists_and_apply_augmentations():
    image = image_of(4, 6)
    flipped, transforms = T.apply_augmentations([T.RandomFlip(prob=1.0), T.HFlipTransform(6), T.Resize((2, 3))], image)
    assert flipped.shape == (2, 3, 3)
    assert isinstance(transforms, T.TransformList) and len(transforms.transforms) == 3
    assert np.array_equal(transforms.apply_image(image), flipped)
    aug_input = T.AugInput(image)
    returned, transforms = T.apply_augmentations([T.AugmentationList([T.RandomFlip(prob=1.0)])], aug_input)
    assert returned is aug_input and np.array_equal(aug_input.image, image[:, ::-1])
    assert T.TransformGen is T.Augmentation and T.StandardAugInput is T.AugInput


def test_same_seed_same_transforms():
    augs = [T.ResizeShortestEdge((10, 30)), T.RandomCrop("relative_range", (0.3, 0.3)), T.RandomFlip()]
    results = []
    for _ in range(2):
        np.random.seed(7)
        results.append([T.apply_augmentations(augs, image_of(40, 50))[0].tobytes() for _ in range(5)])
    assert results[0] == results[1] and len(set(results[0])) > 1


def test_repr_shows_arguments():
    assert repr(T.RandomFlip(prob=0.25)) == "RandomFlip(prob=0.25)"
    assert "[3, 4]" in repr(T.ResizeShortestEdge([3, 4], 5)) and "5" in repr(T.ResizeShortestEdge([3, 4], 5))
    assert "RandomFlip(prob=0.25)" in repr(T.AugmentationList([T.RandomFlip(prob=0.25)]))


@pytest.mark.parametrize("image", [[1, 2], np.zeros((1, 2, 2, 3), dtype=np.uint8)])
def test_wrong_images(image):
    with pytest.raises(AssertionError):
        T.AugInput(image)
