"""An endpoint's graph, with the weights in it as constants."""

import functools

import keras

from keras_snn.network.reading import sublayers


def graph(model, endpoint, what, batch_size=None):
    """Return the concrete function of an endpoint.

    As variables the weights would be out of reach of the body of the loop
    over time.

    Args:
        model: The model whose weights the endpoint uses.
        endpoint: An `endpoints.Endpoint`.
        what: The format, for the message.
        batch_size: Size of the inputs' first axis; None for any.

    Raises:
        ValueError: If a layer changes its variables, as those that draw
            random numbers do.
    """
    import tensorflow as tf

    weights = [(v, keras.ops.convert_to_numpy(v)) for v in model.variables]

    @functools.partial(tf.function, autograph=False)
    def signature(**values):
        with keras.StatelessScope(state_mapping=weights) as scope:
            before = dict(scope.state_mapping)
            outputs = endpoint.run(values)
        for v in model.variables:
            if scope.state_mapping[id(v)] is not before[id(v)]:
                _refuse(model, v, what)
        return outputs

    specs = {
        name: tf.TensorSpec((batch_size, *x.shape[1:]), x.dtype, name=name)
        for name, x in endpoint.inputs.items()
    }
    return signature.get_concrete_function(**specs)


def _refuse(model, variable, what):
    *_, layer = (
        layer
        for layer in sublayers(model)
        if any(variable is v for v in layer.variables)
    )
    raise ValueError(
        f"{what} files compute the same at every call. Received: "
        f"'{layer.name}' ({type(layer).__name__}) in '{model.name}', which "
        "draws random numbers or counts. Export what follows it, "
        f"keras_snn.Model(model.get_layer('{layer.name}').output, "
        "model.output), and give that spike trains, e.g. of "
        'keras_snn.encoding; or use encoder="rate".'
    )
