"""Random crops and flips of whole batches of images."""


def random_crop(images, padding, seed):
    """Shifts each image by up to `padding` pixels; black comes in.

    Equal to padding every side with `padding` zeros and cropping a window of
    the original size, its place drawn for each image by itself. Apply it to
    raw pixels, before scaling: the published program pads black, not the
    mean colour.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        padding: Border width in pixels.
        seed: Integer tensor `(2,)`; the same seed gives the same crops.

    Returns:
        Tensor of the shape and dtype of `images`.
    """
    import tensorflow as tf

    border = [padding, padding]
    padded = tf.pad(images, [[0, 0], border, border, [0, 0]])
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    offsets = tf.random.stateless_uniform(
        (batch, 2), seed, 0, 2 * padding + 1, dtype="int32"
    )
    rows = offsets[:, :1] + tf.range(height)
    columns = offsets[:, 1:] + tf.range(width)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(cropped, columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape)


def random_flip(images, seed):
    """Mirrors each image left to right with probability one half.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        seed: Integer tensor `(2,)`; the same seed gives the same flips.

    Returns:
        Tensor of the shape and dtype of `images`.
    """
    import tensorflow as tf

    draws = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed)
    return tf.where(draws < 0.5, tf.reverse(images, axis=[2]), images)
