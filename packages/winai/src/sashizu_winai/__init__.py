"""Windows AI: App Actions, the on-device language model, and ONNX sessions on every system."""
