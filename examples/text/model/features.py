"""From text to the words that it has: the vocabulary is part of the saved model."""

import keras
from keras import layers

WORDS = 2000


def encoder(train):
    """Return a model from texts, shape (rows,), to which of the training rows' most frequent words they have."""
    text = keras.Input(shape=(), dtype="string", name="text")
    words = layers.TextVectorization(WORDS, output_mode="multi_hot", name="words")
    words.adapt(train["text"].tolist())
    return keras.Model({"text": text}, {"words": words(text)}, name="encoder")
