import pickle

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.datasets.scaling import scale
from keras_snn.training import AugmentedBatches, recipe
from keras_snn.training.data import _augmentation

SAMPLES, HEIGHT, WIDTH = 40, 6, 5
PLAIN = {"flip": False, "shift": 0, "shuffle": False}


def numbered_images(samples=SAMPLES, dtype="float32"):
    """Return images whose pixels are all different, from 1, and labels."""
    count = samples * HEIGHT * WIDTH * 2
    x = np.arange(1, count + 1).reshape(samples, HEIGHT, WIDTH, 2)
    return x.astype(dtype), np.arange(samples)


def batches_of(batch_size=16, **options):
    return AugmentedBatches(*numbered_images(), batch_size, **options)


def epoch_of(batches):
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


def next_epoch(batches):
    batches.epoch += 1
    return epoch_of(batches)


def test_without_augmentation_batches_are_slices():
    x, y = numbered_images()
    batches = AugmentedBatches(x, y, 16, **PLAIN)
    assert len(batches) == 3
    assert [len(images) for images, _ in batches] == [16, 16, 8]
    images, labels = epoch_of(batches)
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_dtypes_and_one_hot_labels_stay(dtype):
    x, y = numbered_images(dtype=dtype)
    one_hot = np.eye(SAMPLES, dtype="float32")[y]
    images, labels = AugmentedBatches(x, one_hot, 7, cutout=2)[0]
    assert images.dtype == dtype
    assert labels.shape == (7, SAMPLES)


def test_each_epoch_has_all_images_in_a_new_order():
    batches = batches_of(flip=False, shift=0)
    x, _ = numbered_images()
    orders = []
    for _ in range(2):
        images, labels = epoch_of(batches)
        np.testing.assert_array_equal(images, x[labels])
        assert sorted(labels) == list(range(SAMPLES))
        orders.append(labels.tolist())
        batches.epoch += 1
    assert orders[0] != orders[1] != sorted(orders[0]) != orders[0]


def sides(images, labels):
    """Return which images are mirrored; all must be whole."""
    x, _ = numbered_images()
    kept = np.all(images == x[labels], axis=(1, 2, 3))
    mirrored = np.all(images == x[labels][:, :, ::-1], axis=(1, 2, 3))
    assert np.all(kept ^ mirrored)
    return mirrored


def test_alternate_flips_show_the_other_side_in_the_next_epoch():
    batches = batches_of(shift=0, shuffle=False)
    first = sides(*epoch_of(batches))
    assert 0.2 < first.mean() < 0.8
    np.testing.assert_array_equal(sides(*next_epoch(batches)), ~first)
    np.testing.assert_array_equal(sides(*next_epoch(batches)), first)


def test_alternate_flips_follow_the_image_not_its_place():
    batches = batches_of(shift=0)
    first, second = epoch_of(batches), next_epoch(batches)
    order = [np.argsort(labels) for _, labels in (first, second)]
    np.testing.assert_array_equal(
        sides(*first)[order[0]], ~sides(*second)[order[1]]
    )


def test_random_flips_are_drawn_in_each_epoch():
    batches = batches_of(shift=0, shuffle=False, alternate=False)
    first, second = sides(*epoch_of(batches)), sides(*next_epoch(batches))
    assert 0.2 < first.mean() < 0.8
    assert np.any(first == second) and np.any(first != second)


NUMPY_PADDING = {"reflect": "reflect", "zeros": "constant"}


@pytest.mark.parametrize("shift", [1, 2, 4])
@pytest.mark.parametrize("padding", NUMPY_PADDING)
def test_shifts_are_windows_of_the_padded_image(padding, shift):
    x, _ = numbered_images()
    border = (shift, shift)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)), NUMPY_PADDING[padding])
    batches = batches_of(flip=False, shift=shift, padding=padding)
    seen, unique = set(), padding == "zeros" or shift < 4
    for image, label in zip(*epoch_of(batches)):
        places = [
            (row, column)
            for row in range(2 * shift + 1)
            for column in range(2 * shift + 1)
            if np.array_equal(
                image,
                padded[label, row : row + HEIGHT, column : column + WIDTH],
            )
        ]
        # Mirrored, 5 pixels are the same 4 to the left and 4 to the right.
        assert len(places) == 1 or places and not unique
        seen.add(places[0])
    assert len(seen) > 5


def test_all_shifts_are_alike_frequent():
    x = np.zeros((9000, 3, 3, 1), "float32")
    x[:, 1, 1] = 1
    batches = AugmentedBatches(
        x, np.zeros(9000), 9000, flip=False, shift=1, padding="zeros"
    )
    counts = batches[0][0].sum((0, 3))
    # Nine places of 1000 images; the standard deviation is 30.
    np.testing.assert_allclose(counts, 1000, atol=150)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_cutout_hides_one_square_cut_off_at_the_border(side):
    batches = batches_of(flip=False, shift=0, cutout=side)
    x, _ = numbered_images()
    sizes = set()
    for image, label in zip(*epoch_of(batches)):
        hidden = image == 0
        np.testing.assert_array_equal(image[~hidden], x[label][~hidden])
        rows = np.flatnonzero(hidden.any((1, 2)))
        columns = np.flatnonzero(hidden.any((0, 2)))
        # A full rectangle without holes, in all channels.
        assert hidden.sum() == 2 * len(rows) * len(columns)
        assert rows[-1] - rows[0] + 1 == len(rows) <= side
        assert columns[-1] - columns[0] + 1 == len(columns) <= side
        for found, size in ((rows, HEIGHT), (columns, WIDTH)):
            at_border = found[0] == 0 or found[-1] == size - 1
            assert len(found) == side or at_border
            # The centre lies in the image.
            assert len(found) >= side // 2
        sizes.add((len(rows), len(columns)))
    assert (side, side) in sizes


def test_a_batch_depends_on_seed_epoch_and_index_alone():
    options = {"cutout": 2, "alternate": False}
    one, other = batches_of(seed=3, **options), batches_of(seed=3, **options)
    _ = epoch_of(one), next_epoch(one)
    other.epoch = 1
    for index in (2, 0, 1):
        for a, b in zip(one[index], other[index]):
            np.testing.assert_array_equal(a, b)
    begun = batches_of(seed=3, epoch=1, **options)
    np.testing.assert_array_equal(begun[1][0], one[1][0])
    another = batches_of(seed=4, epoch=1, **options)
    assert np.any(another[1][0] != one[1][0])


def test_batches_of_an_epoch_are_moved_differently():
    x = np.tile(numbered_images(1)[0], (20, 1, 1, 1))
    batches = AugmentedBatches(x, np.zeros(20), 10)
    assert np.any(batches[0][0] != batches[1][0])


def test_pickled_for_other_processes():
    batches = batches_of()
    again = pickle.loads(pickle.dumps(batches))
    np.testing.assert_array_equal(again[1][0], batches[1][0])


def test_given_arrays_stay_as_they_are():
    x, y = numbered_images()
    epoch_of(AugmentedBatches(x, y, 16, cutout=3, padding="zeros"))
    np.testing.assert_array_equal(x, numbered_images()[0])


def small_model(loss, **options):
    model = keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-9), loss, **options)
    return model


def labels_seen(epochs, workers):
    """Return the labels that `fit` has shown to the loss, in order."""
    seen = []

    def look(y_true, y_pred):
        seen.append(keras.ops.convert_to_numpy(y_true))
        return keras.ops.mean(y_pred, axis=-1)

    model = small_model(look, run_eagerly=True)
    batches = batches_of(1, workers=workers)
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False)
    return np.concatenate(seen).ravel()


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="the loss is compiled"
)
@pytest.mark.parametrize("workers", [1, 2])
def test_fit_shows_one_epoch_after_the_other(workers):
    seen = labels_seen(epochs=3, workers=workers)
    expected = batches_of(1)
    for order in seen.reshape(3, SAMPLES):
        np.testing.assert_array_equal(order, epoch_of(expected)[1])
        expected.epoch += 1


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_counts_its_passes(workers):
    batches = batches_of(1, workers=workers)
    model = small_model("mean_squared_error")
    model.fit(batches, epochs=2, verbose=0)
    assert batches.epoch == 2
    model.fit(batches, epochs=3, initial_epoch=2, verbose=0)
    assert batches.epoch == 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"shift": 5}, "less than the sides of the images, 6 and 5 pixels"),
        ({"shift": -1}, "`shift` must be an integer, at least 0"),
        ({"cutout": 2.0}, "`cutout` must be an integer, at least 0"),
        ({"seed": None}, "`seed` must be an integer, at least 0"),
        ({"epoch": True}, "`epoch` must be an integer, at least 0"),
        ({"padding": "edge"}, '`padding` must be one of "reflect", "zeros"'),
        ({"border": [0.0] * 7}, "`border` must be a number, or one for each"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        batches_of(**options)


def test_bad_arrays():
    x, y = numbered_images()
    with pytest.raises(ValueError, match="Give grey images a channel"):
        AugmentedBatches(x[..., 0], y)
    with pytest.raises(ValueError, match="a label for each of the 40 images"):
        AugmentedBatches(x, y[:-1])
    with pytest.raises(IndexError, match="3 is none of 3 batches"):
        batches_of()[3]


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_the_published_crop_pads_black(name):
    info = snn.datasets.info(name)
    settings = recipe("vgg9", name, learning_rule="collapsed")
    white = np.full((64, *info.input_shape), 255, "float32")
    black = scale(np.zeros((1, 1, 1, 3), "float32"), info).ravel()
    batches = AugmentedBatches(
        scale(white, info),
        np.zeros((64, 10)),
        64,
        **_augmentation(settings, info),
    )
    images, _ = batches[0]
    for channel in range(3):
        found = np.unique(images[..., channel])
        assert len(found) == 2
        assert found[0] == black[channel]
