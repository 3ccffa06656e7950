"""Training of the built-in model from labelled images and procedural scenes."""
