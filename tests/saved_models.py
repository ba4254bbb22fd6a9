"""Small real SavedModels for tests."""

from pathlib import Path


def save(folder: Path, bias: float = 0.5, output: str = "late") -> Path:
    """Write a model of three named fields: x / 10 + bias + hour + length of carrier; a missing x counts as 0."""
    import tensorflow as tf

    class Task(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = tf.Variable(bias)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="carrier"),
                tf.TensorSpec([None], tf.int64, name="hour"),
            ]
        )
        def predict(self, x, carrier, hour):
            length = tf.cast(tf.strings.length(carrier), tf.float32)
            return {output: tf.where(tf.math.is_nan(x), 0.0, x) * 0.1 + self.bias + tf.cast(hour, tf.float32) + length}

    task = Task()
    tf.saved_model.save(task, str(folder), signatures={"serving_default": task.predict})
    return folder


def save_kinds(folder: Path) -> Path:
    """Write a model that returns what it is given: `default` one float, `kinds` one input of each other type."""
    import tensorflow as tf

    types = {"flag": tf.bool, "small": tf.int32, "large": tf.int64, "image_bytes": tf.string, "wide": tf.float64}

    class Echo(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
        def one(self, x):
            return {"y": tf.identity(x)}

        @tf.function(input_signature=[tf.TensorSpec(None, dtype, name=name) for name, dtype in types.items()])
        def kinds(self, flag, small, large, image_bytes, wide):
            given = {"flag": flag, "small": small, "large": large, "image_bytes": image_bytes, "wide": wide}
            return {name: tf.identity(value) for name, value in given.items()}

    echo = Echo()
    tf.saved_model.save(echo, str(folder), signatures={"serving_default": echo.one, "kinds": echo.kinds})
    return folder


def save_wide(folder: Path) -> Path:
    """Write a model whose inputs have more than one axis, and must agree: three numbers and one text a row."""
    import tensorflow as tf

    class Wide(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.ones([3, 2]))

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 3], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="c"),
            ]
        )
        def predict(self, x, c):
            return {"y": tf.matmul(x, self.weights) + tf.cast(tf.strings.length(c), tf.float32)[:, None]}

    wide = Wide()
    tf.saved_model.save(wide, str(folder), signatures={"serving_default": wide.predict})
    return folder
