"""Rollouts and latents at any address: a folder, memory, S3."""

import shutil
import uuid

import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from awm import stages
from awm.data import arrays, rollouts
from awm.data.latents import encode_latents
from awm.data.rollouts import collect, open_rollouts
from awm.errors import AwmError
from awm.store import ARRAYS, CODE, Workspace
from awm.training import vae


@pytest.fixture(scope="module")
def s3():
    """The address of a bucket on a server of this machine."""
    import s3fs

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
def test_what_is_collected_elsewhere_is_the_same(smoke, tmp_path, kind, request):
    place = {"folder": str(tmp_path / "far"), "memory": f"memory://{uuid.uuid4()}"}.get(kind)
    place = place or f"{request.getfixturevalue('s3')}/awm/"
    ws = Workspace.open("smoke", tmp_path / "here")
    arrays.keep_at(ws, place)
    collect(ws, workers=1)
    stage = stages.rollouts(ws.profile)
    assert ws.manifest(stage)["content"] == smoke.manifest(stage)["content"]
    assert not list(ws.own.glob("*.zarr")) and arrays.exists(arrays.address(ws, "rollouts.zarr"))
    one, other = open_rollouts(ws).episode(1), open_rollouts(smoke).episode(1)
    assert np.array_equal(one.frames, other.frames) and np.array_equal(one.rewards, other.rewards)
    for file in smoke.own.glob("vae.*"):
        shutil.copy(file, ws.own)
    v = vae.load(ws)
    found, expected = encode_latents(ws, v), encode_latents(smoke, v)
    assert np.array_equal(found.mu, expected.mu)
    assert np.array_equal(found.maps(2), expected.maps(2))


def test_a_workspace_that_has_arrays_keeps_them(smoke_copy):
    with pytest.raises(AwmError, match="rollouts.zarr in .* would be left behind"):
        arrays.keep_at(smoke_copy, "memory://elsewhere")
    open_rollouts(smoke_copy)


def test_an_address_that_cannot_be_reached_is_refused(workspace, s3):
    ws = Workspace.open("smoke", workspace)
    for place, why in (
        ("s3://no-such-bucket/awm", "cannot be reached or read"),
        ("swan://lake", "cannot be reached or read"),
    ):
        with pytest.raises(AwmError, match=why):
            arrays.keep_at(ws, place)
    assert not (ws.own / ARRAYS).exists()


def test_a_missing_library_is_named(workspace, monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(arrays.zarr, "open_group", missing)
    with pytest.raises(AwmError, match=r"Install s3fs.*pip install 'awm\[s3\]'"):
        arrays.keep_at(Workspace.open("smoke", workspace), "s3://bucket")


@pytest.mark.slow
def test_a_cluster_collects_without_files(smoke, tmp_path):
    pytest.importorskip("distributed")
    ws = Workspace.open("smoke", tmp_path)
    collect(ws, "local")
    stage = stages.rollouts(ws.profile)
    assert ws.manifest(stage)["content"] == smoke.manifest(stage)["content"]


def test_a_worker_of_another_version_refuses():
    with pytest.raises(AwmError, match="another version of awm"):
        rollouts._drive_one("0" * len(CODE), None, 0, 1)
