"""``python -m napari_hqsam2``: the command line."""

from napari_hqsam2.cli import app

if __name__ == "__main__":
    app(prog_name="napari-hqsam2")
