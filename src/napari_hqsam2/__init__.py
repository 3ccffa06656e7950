"""HQ-SAM 2 for napari: interactive segmentation and tracking of microscopy stacks."""
