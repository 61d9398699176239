"""The 8x8 digits that come inside scikit-learn."""

from keras_snn import optional


def digits_arrays():
    """Raw pixels and class numbers of the 1,797 handwritten digits.

    Needs no download. The split (80 % to 20 %, each class in proportion) is
    the same on every call.

    Returns:
        `{"train": (pixels, labels), "test": (pixels, labels)}` with pixels
        `(N, 8, 8, 1)`, values 0..16, and integer labels `(N,)`.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    datasets = optional.require("sklearn.datasets", "datasets")
    selection = optional.require("sklearn.model_selection", "datasets")
    digits = datasets.load_digits()
    x_train, x_test, y_train, y_test = selection.train_test_split(
        digits.images[..., None],
        digits.target,
        test_size=0.2,
        stratify=digits.target,
        random_state=0,
    )
    return {"train": (x_train, y_train), "test": (x_test, y_test)}
