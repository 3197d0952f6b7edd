"""ONNX models: the same code on every system."""
