"""Scripts: viewer models without Qt, with a fake engine and with the real model."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_hqsam2 import api
from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.plugin import segment_layers
from napari_hqsam2.plugin.models import ModelEngine


def make_viewer(shape=(5, 20, 30), **options):
    viewer = ViewerModel()
    options = {"axis_labels": tuple("tyx"[-len(shape) :]), **options}
    data = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    viewer.add_image(data, name="cells", **options)
    return viewer


def test_names_of_layers_are_enough(fake_engine):
    viewer = make_viewer()
    viewer.add_points([[2, 5, 6]], name="clicks")
    labels = segment_layers(viewer, "cells", points="clicks", engine=fake_engine)
    assert labels in viewer.layers
    assert labels.name == "HQ-SAM2 labels [cells]"
    assert labels.data.shape == (5, 20, 30)
    assert (labels.data[:, 5, 6] == 1).all()


def test_prompts_in_the_world_of_the_image(fake_engine):
    viewer = make_viewer(scale=(1, 0.5, 0.5), translate=(0, 10, 10))
    viewer.add_points([[2, 12.5, 13]], name="clicks", features={"object_id": [4]})
    labels = segment_layers(viewer, "cells", points="clicks", engine=fake_engine)
    assert (labels.data[:, 5, 6] == 4).all()
    assert not fake_engine.is_released


def test_labels_of_a_multiscale_layer_are_those_of_its_finest_level(fake_engine):
    viewer = ViewerModel()
    fine = np.random.default_rng(0).integers(0, 200, (5, 64, 96)).astype(np.uint8)
    image = viewer.add_image(
        [fine, fine[:, ::2, ::2], fine[:, ::4, ::4]],
        multiscale=True,
        name="cells",
        axis_labels=tuple("tyx"),
        scale=(1, 0.5, 0.5),
        translate=(0, 10, 10),
    )
    viewer.add_points([[2, 25, 40]], name="clicks", features={"object_id": [4]})
    labels = segment_layers(viewer, "cells", points="clicks", engine=fake_engine)
    assert labels.data.shape == fine.shape
    assert (labels.data[:, 30, 60] == 4).all()
    np.testing.assert_allclose(labels.scale, image.scale)
    np.testing.assert_allclose(labels.translate, image.translate)
    world = (2, 25, 40)
    assert labels.get_value(world, world=True) == 4
    levels = fake_engine.sessions[0]._stack._stack.levels
    assert [level.shape for level in levels] == [(5, 64, 96), (5, 32, 48), (5, 16, 24)]


def test_layers_can_be_mixed(fake_engine):
    viewer = make_viewer(gamma=0.5)
    other = viewer.add_image(
        np.zeros((5, 20, 30), np.uint16), name="membranes", contrast_limits=(3, 90)
    )
    viewer.add_points([[2, 5, 6]], name="clicks")
    mix = (viewer.layers["cells"], other, None)
    labels = segment_layers(
        viewer, "cells", points="clicks", engine=fake_engine, mix=mix
    )
    settings = fake_engine.sessions[0].settings
    assert settings.mix.red.stack is None
    assert settings.mix.red.gamma == settings.gamma == 0.5
    assert settings.mix.green.stack is other.data
    assert settings.mix.green.contrast_limits == (3, 90)
    made = labels.metadata["napari-hqsam2"]["last_run"]
    assert made["mix"] == "red: cells, green: membranes"


def test_shapes_and_existing_labels(fake_engine):
    viewer = make_viewer()
    old = np.zeros((5, 20, 30), dtype=np.uint16)
    old[:, 15:, 25:] = 9
    viewer.add_labels(old, name="mine")
    corners = [[1, 2, 3], [1, 2, 9], [1, 8, 9], [1, 8, 3]]
    viewer.add_shapes([corners], name="boxes")
    labels = segment_layers(
        viewer,
        "cells",
        shapes="boxes",
        labels="mine",
        engine=fake_engine,
        direction="forward",
        frames=(1, 4),
        hq_mode="off",
        tracking="local",
        resolution=384,
    )
    assert labels is viewer.layers["mine"]
    assert (labels.data == 9).sum() == 5 * 25
    assert (labels.data == 1).any(axis=(1, 2)).tolist() == [False, *[True] * 3, False]
    settings = fake_engine.sessions[0].settings
    assert (settings.hq_mode, settings.tracking) == ("off", "local")
    assert settings.resolution == 384


@pytest.mark.parametrize("frames", [(1, 6), (-1, 3), (4, 4)])
def test_frames_that_the_stack_has_not_are_refused(fake_engine, frames):
    viewer = make_viewer()
    viewer.add_points([[1, 5, 6]], name="clicks")
    with pytest.raises(StackError, match=r"0 <= start < stop <= 5"):
        segment_layers(
            viewer, "cells", points="clicks", engine=fake_engine, frames=frames
        )
    assert not any(isinstance(layer, Labels) for layer in viewer.layers)


def test_frames_of_one_image_are_refused(fake_engine):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 30)), name="cells")
    viewer.add_points([[5, 6]], name="clicks")
    with pytest.raises(StackError, match="is one image"):
        segment_layers(
            viewer, "cells", points="clicks", engine=fake_engine, frames=(0, 1)
        )


def test_frame_scope_follows_the_sliders(fake_engine):
    viewer = make_viewer()
    viewer.add_points([[3, 5, 6]], name="clicks")
    viewer.dims.set_current_step(0, 3)
    labels = segment_layers(
        viewer, "cells", points="clicks", scope="frame", engine=fake_engine
    )
    assert labels.data.any(axis=(1, 2)).tolist() == [False] * 3 + [True, False]


def test_a_scope_that_there_is_not(fake_engine):
    viewer = make_viewer()
    viewer.add_points([[3, 5, 6]], name="clicks")
    with pytest.raises(ValueError, match="scope='slice' is not one of frame, stack"):
        segment_layers(
            viewer, "cells", points="clicks", scope="slice", engine=fake_engine
        )
    assert len(viewer.layers) == 2


def test_axis_of_four_dimensions(fake_engine):
    viewer = make_viewer((3, 4, 20, 30), axis_labels=("t", "z", "y", "x"))
    viewer.add_points([[1, 2, 5, 6]], name="clicks")
    labels = segment_layers(
        viewer, "cells", points="clicks", axis="t", engine=fake_engine
    )
    assert labels.data[:, 2].any(axis=(1, 2)).all()
    assert not labels.data[:, [0, 1, 3]].any()


def test_mistakes_are_explained(fake_engine):
    viewer = make_viewer()
    viewer.add_points(np.empty((0, 3)), name="none")
    with pytest.raises(KeyError, match="no layer 'cell'"):
        segment_layers(viewer, "cell", engine=fake_engine)
    with pytest.raises(TypeError, match="type Points is needed"):
        segment_layers(viewer, "cells", points="cells", engine=fake_engine)
    with pytest.raises(TypeError, match="no option 'speed'"):
        segment_layers(viewer, "cells", points="none", engine=fake_engine, speed=9)
    with pytest.raises(PromptError, match="no prompt yet"):
        segment_layers(viewer, "cells", points="none", engine=fake_engine)
    viewer.add_points([[2, 5, 6]], name="clicks")
    with pytest.raises(StackError, match="resolution=100 is not a multiple of 32"):
        segment_layers(
            viewer, "cells", points="clicks", engine=fake_engine, resolution=100
        )
    with pytest.raises(StackError, match="axis='Q'"):
        segment_layers(viewer, "cells", points="clicks", axis="q", engine=fake_engine)
    assert [layer.name for layer in viewer.layers] == ["cells", "none", "clicks"]


def test_errors_of_the_engine_reach_the_script(fake_engine):
    viewer = make_viewer()
    viewer.add_points([[2, 5, 6]], name="clicks")
    fake_engine.error, fake_engine.fail_at = RuntimeError("broken"), 2
    with pytest.raises(RuntimeError, match="broken"):
        segment_layers(viewer, "cells", points="clicks", engine=fake_engine)
    labels = viewer.layers["HQ-SAM2 labels [cells]"]
    assert labels.data.any(axis=(1, 2)).sum() == 2


@pytest.fixture(scope="module")
def untrained_engine(make_untrained):
    """The built-in model with random weights, behind the plugin's own engine."""
    predictor = make_untrained(128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "load_model", lambda *_, **__: predictor)
        yield ModelEngine()


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 40, 50), {"axis_labels": ("t", "y", "x")}),
        ((40, 50), {"axis_labels": ("y", "x")}),
        ((2, 40, 50), {"axis_labels": ("c", "y", "x")}),
        ((2, 2, 40, 50), {"axis_labels": ("t", "z", "y", "x")}),
        ((2, 40, 50, 3), {"axis_labels": ("z", "y", "x"), "rgb": True}),
    ],
)
def test_real_model_takes_every_shape(untrained_engine, shape, options):
    viewer = make_viewer(shape, **options)
    image = viewer.layers["cells"]
    ndim = image.ndim - (options["axis_labels"][0] == "c")
    viewer.add_points(
        [[0] * (ndim - 2) + [12, 14], [0] * (ndim - 2) + [30, 40]],
        name="clicks",
        features={"object_id": [1, 2]},
    )
    labels = segment_layers(viewer, "cells", points="clicks", engine=untrained_engine)
    height_width = shape[-3:-1] if options.get("rgb") else shape[-2:]
    assert labels.data.shape[-2:] == height_width
    assert labels.ndim == ndim
    assert set(np.unique(labels.data)) <= {0, 1, 2}


def test_real_model_takes_settings_run_by_run(untrained_engine):
    viewer = make_viewer((3, 40, 50), axis_labels=("t", "y", "x"))
    viewer.add_points([[0, 12, 14]], name="clicks")
    for resolution, tracking in ((96, "local"), (64, "exact")):
        labels = segment_layers(
            viewer,
            "cells",
            points="clicks",
            engine=untrained_engine,
            resolution=resolution,
            tracking=tracking,
        )
        run = labels.metadata["napari-hqsam2"]["last_run"]
        assert (run["resolution"], run["tracking"]) == (str(resolution), tracking)
