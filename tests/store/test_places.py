"""Places of stores: what a URL means, which are refused in one line, and that no secret is ever shown."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.stores import fill, make_meta

import fstore
from fstore import urls
from fstore.errors import StoreError, UnreadableError
from fstore.location import Location
from pipeline.cli import main

SECRET = "wJalr/XUtn+FEMI?K7#MDENG"
WITH_SECRETS = [
    (f"s3://AKIAEXAMPLE:{SECRET}@bucket/a.zarr", "s3://bucket/a.zarr"),
    ("s3://AKIAEXAMPLE:wJalrXUtn@bucket/a.zarr", "s3://bucket/a.zarr"),
    ("memory://user:wJalrXUtn@host/a.zarr", "memory://host/a.zarr"),
    ("s3://bucket/a.zarr?token=wJalrXUtn&x=1", "s3://bucket/a.zarr"),
    ("https://host:8080/a.zarr#wJalrXUtn", "https://host:8080/a.zarr"),
    ("simplecache::s3://AKIAEXAMPLE:wJalrXUtn@bucket/a", "simplecache::s3://bucket/a"),
    ("s3://AKIAEXAMPLE:wJalr%2FXUtn@bucket/a.zarr", "s3://bucket/a.zarr"),
]
PLAIN = ["s3://bucket/a@b.zarr", "s3://bucket/x/y.zarr", "gs://b", "memory://x/y z.zarr", "http://host:80/x"]


@pytest.mark.parametrize(("url", "shown"), WITH_SECRETS)
def test_a_secret_is_in_no_text_of_a_location(url: str, shown: str) -> None:
    location = Location.parse(url)
    assert str(location) == shown
    assert "wJalr" not in repr(location) and "wJalr" not in f"{[location]}"
    assert location.target == url  # what opens it has it


@pytest.mark.parametrize("url", PLAIN)
def test_a_url_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert str(Location.parse(url)) == url


@pytest.mark.parametrize(("url", "shown"), WITH_SECRETS)
@pytest.mark.parametrize(
    "message",
    ["cannot open {url}", "/{rest}: no such key", "403 for {user} with {password}", "bad token {query}"],
)
def test_a_secret_is_taken_out_of_what_libraries_say(url: str, shown: str, message: str) -> None:
    rest = url.partition("://")[2]
    user, _, _ = rest.rpartition("@")
    parts = {"user": user, "password": user.partition(":")[2], "query": url.partition("?")[2]}
    said = urls.hide(message.format(url=url, rest=rest, **parts), url)
    assert "wJalr" not in said and "XUtn" not in said


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=20)


@given(texts.filter(lambda text: "@" not in text and "***" not in text and len(set(text)) > 2), texts)
def test_no_password_survives(password: str, name: str) -> None:
    url = f"s3://key:{password}@bucket/x"
    if password in "s3://bucket/x" or password in f"error in : {name}":
        return  # it is a word of the message itself
    assert password not in urls.shown(url)
    assert password not in urls.hide(f"error in {url}: key:{password}@bucket {name}", url)


@pytest.mark.parametrize("url", [url for url, _ in WITH_SECRETS if url.startswith("memory")])
@pytest.mark.parametrize("command", [["info"], ["verify"], ["filter", "--keep", "0.5"]])
def test_the_command_line_shows_no_secret(url: str, command: list[str]) -> None:
    pytest.importorskip("fsspec")
    result = CliRunner().invoke(main, [*command, url])
    assert result.exit_code != 0
    assert "wJalr" not in result.output and "Traceback" not in result.output
    assert "memory://host/a.zarr" in result.output


def test_errors_that_a_url_raises_while_it_is_read_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    url = "memory://user:wJalrXUtn@host/failing.zarr"
    fill(url, make_meta())
    store = fstore.open(url)

    async def refused(self, key: str, *arguments, **options):
        raise RuntimeError(f"403 Forbidden: {url}/{key}?x with user:wJalrXUtn")

    monkeypatch.setattr(type(store.array("masks").array.store), "get", refused)
    for use in (lambda: fstore.open(url), lambda: store.masks.compute(), store.check_unchanged):
        with pytest.raises(StoreError, match=r"cannot be read .403 Forbidden") as caught:
            use()
        assert "wJalr" not in str(caught.value)
    assert isinstance(caught.value, StoreError)


def test_file_urls_mean_the_path_that_they_name(tmp_path: Path) -> None:
    for url in (
        f"file://{tmp_path}/a.zarr",
        f"file://localhost{tmp_path}/a.zarr",
        f"FILE://{tmp_path}/a.zarr",
    ):
        assert Location.parse(url).folder == tmp_path / "a.zarr"
    assert Location.parse(f"file://{tmp_path}/a%20b.zarr").folder == tmp_path / "a b.zarr"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file://relative/x.zarr", "names the host 'relative'"),
        ("file://user:wJalrXUtn@relative/x.zarr", "names the host 'relative'"),
        ("file://", "names no folder"),
        ("file:///", "names no folder"),
        ("file:///data/run#1/x.zarr", "has a '.' or '#'"),
        ("file:///data/run?1/x.zarr", "has a '.' or '#'"),
        ("file:/data/x.zarr", "one slash after 'file:'"),
        ("s3:/bucket/x.zarr", "one slash after 's3:'"),
        ("://bucket/x.zarr", "no scheme precedes"),
        ("3s://bucket/x.zarr", "no scheme precedes"),
        ("", "expected a folder or a URL"),
        ("a\0b", "expected a folder or a URL"),
    ],
)
def test_what_is_no_place_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, place: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (fstore.open, lambda p: fill(p, make_meta()), fstore.verify_store):
        with pytest.raises(StoreError, match=says) as caught:
            use(place)
        assert "\n" not in str(caught.value) and "wJalr" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_object_made_of_a_url_is_told_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"write 's3://' as text"):
        Location.parse(Path("s3://bucket/x.zarr"))
    assert Location.parse("C:/stores/x.zarr").folder == Path("C:/stores/x.zarr")
    assert Location.parse("./s3:/x").folder == Path("./s3:/x")


@pytest.mark.parametrize("use", [fstore.open, lambda p: fill(p, make_meta()), fstore.verify_store])
def test_an_unknown_scheme_is_named(use) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(StoreError, match=r"^foo://x/y: the URL scheme 'foo' is not known; expected s3, gs"):
        use("foo://x/y")


@pytest.mark.parametrize("use", [fstore.open, lambda p: fill(p, make_meta()), fstore.verify_store])
def test_a_scheme_whose_package_is_missing_says_what_to_install(use, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = pytest.importorskip("fsspec.registry")

    def missing(protocol: str):
        raise ImportError("Install paramiko to access SFTP")

    monkeypatch.setattr(registry, "get_filesystem_class", missing)
    with pytest.raises(StoreError, match=r"^sftp://x/y: what opens URLs of scheme 'sftp' .*Install param"):
        use("sftp://x/y")


def test_without_fsspec_a_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec.registry", None)
    with pytest.raises(StoreError, match=r"scheme 'memory' need fsspec; run: pip install 'dgan.remote.'"):
        fstore.open("memory://x/y")


def test_only_memory_is_volatile(tmp_path: Path) -> None:
    assert Location.parse("memory://x").is_volatile and Location.parse("MEMORY://x").is_volatile
    assert not any(Location.parse(place).is_volatile for place in (tmp_path, "s3://memory/x", "memory"))


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s.zarr").write_text("x")
    for use in (fstore.open, fstore.verify_store):
        with pytest.raises(StoreError, match="is a file; expected a folder"):
            use(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="is not a store of this program"):
        fill(tmp_path / "s.zarr", make_meta())


def test_an_array_is_no_store_and_not_called_damaged(tmp_path: Path) -> None:
    fill(tmp_path / "s.zarr", make_meta())
    for use in (fstore.open, fstore.verify_store):
        with pytest.raises(StoreError, match="images: is one Zarr array, expected a store"):
            use(tmp_path / "s.zarr" / "images")


def test_a_folder_without_permission_is_not_called_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "s.zarr", make_meta())

    def refused(self: Path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UnreadableError, match=r"the folder cannot be read .Permission denied"):
        fill(tmp_path / "s.zarr", make_meta())


def test_a_store_at_a_url_is_filtered_and_verified(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    from fstore import format as fmt

    url = "memory://places/d.zarr"
    meta = fmt.DatasetMeta((6, 5), make_meta().classes, 4)
    writer = fstore.create_dataset(url, meta, num_images=3)
    writer.write_task(0, {s.name: np.zeros(s.shape, s.dtype) for s in fmt.dataset_arrays(meta, 3)})
    fstore.set_kept(url, np.array([True, True, False]), "0.5", 0.0)
    assert fstore.verify_store(url).ok
    assert fstore.open(url).kept.tolist() == [True, True, False]
