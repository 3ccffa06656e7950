"""The command line: ``napari-hqsam2``; every command has a module of its own."""

from napari_hqsam2.cli import evaluate, exchange, models, segment, train
from napari_hqsam2.cli.app import app

__all__ = ["app", "evaluate", "exchange", "models", "segment", "train"]
