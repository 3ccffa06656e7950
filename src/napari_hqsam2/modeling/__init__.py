"""The network in plain PyTorch: stateless modules, no NumPy, no I/O."""
