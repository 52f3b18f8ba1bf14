"""Quantizers: tensors to layers and back, one quantizer a file. Arrays and bytes only, no I/O."""
