"""Images that the engine does not hold yet, pulled from a registry on this host."""

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

import docker
import pytest
from docker_support import engine_or_skip
from server_support import Listening

from lab.core.errors import PreconditionError
from lab.servers import engine

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_image():
    """The blobs of an image with one file, by their digest, and its manifest."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("hello"))
    layer = gzip.compress(stream.getvalue())
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/hello"], "Cmd": ["world"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(stream.getvalue())]},
        }
    ).encode()
    described = [{"size": len(each), "digest": digest(each)} for each in (config, layer)]
    kinds = ("container.image.v1+json", "image.rootfs.diff.tar.gzip")
    for each, kind in zip(described, kinds, strict=True):
        each["mediaType"] = f"application/vnd.docker.{kind}"
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST}
    manifest |= {"config": described[0], "layers": described[1:]}
    return {digest(config): config, digest(layer): layer}, json.dumps(manifest).encode()


@pytest.fixture(scope="module")
def registry():
    blobs, manifest = make_image()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            what = self.path.rpartition("/")[2]
            known = {"": b"{}", "1": manifest, "latest": manifest, digest(manifest): manifest}
            content = blobs.get(what) or known.get(what)
            self.send_response(200 if content else 404)
            if content == manifest:
                self.send_header("Content-Type", MANIFEST)
                self.send_header("Docker-Content-Digest", digest(manifest))
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def client():
    with engine_or_skip() as opened:
        yield opened


@pytest.mark.parametrize("tag", [":1", ""])
def test_an_image_is_pulled_once(client, registry, tag):
    name = f"{registry}/somebody/hello{tag}"
    assert engine.image_id(client, name) == ""
    assert engine.entrypoint(client, name) == ()
    progress = Listening()
    try:
        pulled = engine.require_image(client, name, progress)
        assert pulled == engine.image_id(client, name) == client.images.get(name).id
        assert progress.said == [f"Pulling the image {name} …"]
        assert engine.require_image(client, name, progress) == pulled
        assert len(progress.said) == 1
        assert engine.entrypoint(client, name) == ("/hello", "world")
        assert len(client.images.list(f"{registry}/somebody/hello")) == 1
    finally:
        client.images.remove(name)


@pytest.mark.parametrize("name", ["{}/somebody/hello:2", "127.0.0.1:1/nobody/nothing"])
def test_an_image_that_is_nowhere(client, registry, name):
    name = name.format(registry)
    with pytest.raises(PreconditionError) as caught:
        engine.require_image(client, name, Listening())
    assert caught.value.code == "docker.no-image"
    assert f"docker pull {name}" in caught.value.remedy
    assert "docker load" in caught.value.remedy
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(name)
