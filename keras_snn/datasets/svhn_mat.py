"""The cropped-digit MATLAB files of SVHN."""

from keras_snn import optional
from keras_snn.datasets.raw_files import RawData, RawSplit, check_split, locate

DESCRIPTION = "SVHN cropped digits (train_32x32.mat, test_32x32.mat)"


def patterns(info):
    """Names of the files this reader takes."""
    return ["train_32x32.mat", "test_32x32.mat"]


def read(folder, info):
    """Reads the two .mat files in `folder` into `RawData`."""
    return RawData(
        {
            split: _read_split(locate(folder, f"{split}_32x32.mat"), info)
            for split in ("train", "test")
        }
    )


def _read_split(path, info):
    scipy_io = optional.require("scipy.io", "datasets")
    try:
        content = scipy_io.loadmat(path)
    # A damaged file raises whatever the part of the parser it reaches does.
    except Exception as error:
        raise ValueError(
            f"`{path}`: expected a complete MATLAB 5 file. Received: "
            f"{type(error).__name__}: {error}. The file is truncated or of "
            "another kind; fetch it again."
        ) from error
    if "X" not in content or "y" not in content:
        found = [key for key in content if not key.startswith("__")]
        raise ValueError(
            f"`{path}`: expected the variables X and y. Received: {found}. "
            "Take the cropped digits (format 2), not the full numbers."
        )
    pixels, digits = content["X"], content["y"].reshape(-1).astype("int64")
    if pixels.ndim != 4 or pixels.dtype != "uint8":
        raise ValueError(
            f"`{path}`: expected X as uint8 of shape (32, 32, 3, N). "
            f"Received: {pixels.dtype} of shape {pixels.shape}."
        )
    if digits.size and not 1 <= digits.min() <= digits.max() <= 10:
        raise ValueError(
            f"`{path}`: expected y in 1..10, 10 for the digit zero. "
            f"Received: {digits.min()}..{digits.max()}."
        )
    split = RawSplit(pixels.transpose(3, 0, 1, 2), digits % 10)
    return check_split(split, info, f"`{path}`")
