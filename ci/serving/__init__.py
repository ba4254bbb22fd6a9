"""A stand-in for TensorFlow Serving, and the protocol by which one server hands its port to the next."""
