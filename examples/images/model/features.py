"""From the content of a PNG file to pixels: computed inside the saved model."""

import keras
import tensorflow as tf

SIZE = 8


@keras.saving.register_keras_serializable("digits")
class Decode(keras.layers.Layer):
    """The content of PNG files as grey values from 0 to 1."""

    def call(self, contents):
        """Map (rows,) to (rows, SIZE, SIZE, 1)."""
        kind = tf.TensorSpec((SIZE, SIZE, 1), tf.float32)
        return tf.map_fn(lambda content: self._one(content), contents, fn_output_signature=kind)

    def _one(self, content):
        image = tf.image.resize(tf.io.decode_png(content, channels=1), (SIZE, SIZE))
        return tf.ensure_shape(image / 240.0, (SIZE, SIZE, 1))


def encoder(train):
    """Return a model from the content of files, shape (rows,), to pixels."""
    image = keras.Input(shape=(), dtype="string", name="image")
    return keras.Model({"image": image}, {"pixels": Decode(name="decode")(image)}, name="encoder")
