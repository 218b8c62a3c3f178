"""V, M, what M may attend to, and C: PyTorch alone, no files and no environments."""
