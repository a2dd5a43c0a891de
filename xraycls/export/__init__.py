"""Write models as ONNX files, and check what was written."""
