"""What is here of the model, downloads and removal, without Qt and without network."""

import pytest

from napari_hqsam2.errors import CheckpointError, DownloadError, HqSam2Error
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.model_store import ModelStore
from napari_hqsam2.plugin.runs import Teller
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.weights import inventory
from napari_hqsam2.weights.cache import CACHE_VARIABLE
from napari_hqsam2.weights.transfer import DownloadCancelledError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def state(cache):
    return PluginState(model="sam2.1_hiera_tiny")


@pytest.fixture
def store(state, fake_viewer):
    store = ModelStore(state, SyncInference(), Teller(state, fake_viewer))
    yield store
    store.close()


def test_nothing_is_looked_at_before_somebody_asks(store, state):
    state.model = "sam2.1_hiera_small"
    assert state.weights.words == ""
    store.refresh()
    assert state.weights.words == "184 MB to download"
    state.model = "sam2.1_hiera_tiny"
    assert state.weights.words == "156 MB to download"


def test_each_kind_of_model_has_words(store, state, cache):
    store.refresh()
    assert (state.weights.words, state.weights.action) == (
        "156 MB to download",
        "download",
    )
    (cache / "sam2.1_hiera_tiny.pt.part").write_bytes(bytes(100_000_000))
    store.refresh()
    assert state.weights.words == "56 MB of 156 MB left to download"
    (cache / "sam2.1_hiera_tiny.pt").write_bytes(bytes(3_000_000))
    store.refresh()
    assert state.weights.words == "3 MB here, not checked yet"
    assert (state.weights.action, state.weights.freed) == ("remove", "103 MB")
    state.model = "sam2.1_hq_hiera_nano"
    assert state.weights.words == "Built in, 16 MB, verified"
    assert state.weights.action == ""
    state.model = "sam2.1_hq_hiera_large"
    assert state.weights.words == "Still to download"
    state.model = "sam2.1_hq_hiera_tiny"
    assert "Never published" in state.weights.words
    assert state.weights.action == ""


def test_a_file_of_ones_own_is_told_instead(store, state, tmp_path):
    store.refresh()
    path = tmp_path / "mine.safetensors"
    path.write_bytes(bytes(2_000_000))
    state.checkpoint = str(path)
    assert (state.weights.words, state.weights.action) == ("Your own, 2 MB", "")
    path.unlink()
    store.refresh()
    assert "gone" in state.weights.words
    state.checkpoint = None
    assert state.weights.action == "download"


def test_a_download_tells_how_far_it_is(store, state, cache, monkeypatch):
    seen = []
    state.events.weights.connect(seen.append)

    def download(name, *, progress, cancel):
        assert not cancel()
        progress(50_000_000, 156_008_466)
        (cache / f"{name}.pt").write_bytes(bytes(3_000_000))

    monkeypatch.setattr(inventory, "download_model", download)
    store.refresh()
    store.download()
    words = "Downloading: 32 % of 156 MB"
    assert [x.words for x in seen if x.action == "cancel"][-1] == words
    assert state.weights.action == "remove"
    assert state.message.text == "sam2.1_hiera_tiny is on this machine."


class LateTasks:
    """Tasks that are carried out when the test says so."""

    def __init__(self):
        self._sync, self._waiting = SyncInference(), []

    def submit(self, task):
        ticket = self._sync.submit(type(task)(lambda _: None))
        ticket.task = task
        self._waiting.append(ticket)
        return ticket

    def carry_out(self):
        waiting, self._waiting = self._waiting, []
        for ticket in waiting:
            try:
                result = ticket.task.work(ticket)
            except HqSam2Error as error:
                ticket.task.on_error(error)
            else:
                ticket.task.on_done(result)


def test_a_download_can_be_cancelled_and_looks_at_nothing_else(
    state, fake_viewer, monkeypatch
):
    def download(name, *, progress, cancel):
        if cancel():
            raise DownloadCancelledError("cancelled; kept")

    monkeypatch.setattr(inventory, "download_model", download)
    tasks = LateTasks()
    store = ModelStore(state, tasks, Teller(state, fake_viewer))
    store.cancel()
    store.download()
    state.model = "sam2.1_hiera_small"
    store.refresh()
    assert state.weights.words == "Downloading: …"
    store.cancel()
    tasks.carry_out()
    assert state.message.text == "cancelled; kept"
    assert not fake_viewer.notes
    tasks.carry_out()
    assert state.weights.words == "184 MB to download"


def test_what_goes_wrong_is_told(store, state, fake_viewer, monkeypatch):
    def fail(*_, **__):
        raise DownloadError("no network; bring it by hand")

    monkeypatch.setattr(inventory, "download_model", fail)
    with pytest.raises(DownloadError):
        store.download()
    assert fake_viewer.notes == ["no network; bring it by hand"]
    store.refresh()
    assert state.weights.action == "download"
    with pytest.raises(CheckpointError, match="nothing to remove"):
        store.remove()
    assert "nothing to remove" in state.message.text


def test_removed_models_free_their_space(store, state, cache):
    (cache / "sam2.1_hiera_tiny.pt").write_bytes(bytes(3_000_000))
    store.refresh()
    store.remove()
    assert state.message.text == "Removed sam2.1_hiera_tiny: 3 MB are free again."
    assert state.weights.words == "156 MB to download"
