"""URLs of clouds: what opens which, which are refused in one line, and what the environment says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.object_storage import CREDENTIALS, SECRET
from support.stores import fill, make_meta

import fstore
from fstore import clouds, urls
from fstore.errors import StoreError
from fstore.location import Location

PLACES = {
    "s3://bucket/a/b.zarr": ("S3Store", "a/b.zarr"),
    "s3a://bucket/a/b.zarr": ("S3Store", "a/b.zarr"),
    "S3://bucket/a%20b é.zarr/": ("S3Store", "a%20b é.zarr"),  # a key is as it is written
    "gs://bucket/x.zarr": ("GCSStore", "x.zarr"),
    "gcs://bucket/x.zarr": ("GCSStore", "x.zarr"),
    "az://container/x.zarr": ("AzureStore", "x.zarr"),
    "azure://container/x.zarr": ("AzureStore", "x.zarr"),
    "abfs://container/x.zarr": ("AzureStore", "x.zarr"),
    "abfss://container@account.dfs.core.windows.net/x.zarr": ("AzureStore", "x.zarr"),
}


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's: no variables, no ~/.aws."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")


@pytest.mark.parametrize("url", PLACES)
def test_a_scheme_of_a_cloud_is_opened_by_obstore(url: str) -> None:
    pytest.importorskip("obstore")
    kind, prefix = PLACES[url]
    store = clouds.open_bucket(url)
    assert type(store).__name__ == kind and str(store.prefix) == prefix
    assert clouds.is_cloud(url)


def test_every_other_scheme_is_left_to_fsspec() -> None:
    assert not any(clouds.is_cloud(url) for url in ("memory://x", "https://h/x", "file:///x", "/s3/x", "x"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            f"s3://AKIA:{SECRET}@bucket/x",
            "was given with credentials in it, which are not used; set AWS_ACCESS",
        ),
        (f"s3://bucket/x?token={SECRET}", "write bucket and path alone"),
        ("s3://bucket/run#1.zarr", "write bucket and path alone"),
        ("s3:///x.zarr", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3://bucket/a/../b.zarr", "has an empty part, '.' or '..'"),
        ("s3://bucket/a//b.zarr", "has an empty part, '.' or '..'"),
    ],
)
def test_a_url_with_a_part_that_would_be_dropped_is_refused(url: str, says: str) -> None:
    for use in (fstore.open, fstore.verify_store, lambda place: fill(place, make_meta())):
        with pytest.raises(StoreError, match=says) as caught:
            use(url)
        assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_without_obstore_one_line_says_what_to_install(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    url = f"{scheme}://bucket/x.zarr"
    for use in (fstore.open, lambda place: fill(place, make_meta())):
        with pytest.raises(StoreError, match=rf"^{url}: .*need obstore; run: pip install 'dgan\[cloud\]'$"):
            use(url)


def test_plain_http_is_allowed_only_where_the_endpoint_is_written_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    for address, allowed in ((None, False), ("https://minio:9000", False), ("HTTP://minio:9000", True)):
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        if address is not None:
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert ("allow_http" in clouds.open_bucket("s3://b/x").client_options) == allowed
        assert "allow_http" not in (clouds.open_bucket("gs://b/x").client_options or {})


def test_credentials_of_the_environment_are_in_no_setting_of_what_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("obstore")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    store = clouds.open_bucket("s3://b/x")
    text = f"{store.config} {store.client_options} {store!r} {Location.parse('s3://b/x')!r}"
    assert not any(value in text for value in CREDENTIALS.values())


def test_a_profile_gives_region_and_keys_by_boto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    pytest.importorskip("boto3")
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {SECRET}\nregion = eu-west-3\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = clouds.open_bucket("s3://b/x")
    assert store.credential_provider()["secret_access_key"] == SECRET
    assert store.config["region"] == "eu-west-3" and SECRET not in f"{store.config} {store!r}"
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(StoreError, match=r"the AWS profile cannot be used .*absent.*; see to AWS_PROFILE"):
        clouds.open_bucket("s3://b/x")


def test_a_process_that_was_forked_after_a_bucket_was_opened_is_told_what_to_do() -> None:
    """It would wait for ever for threads that a fork does not copy."""
    pytest.importorskip("obstore")
    clouds.open_bucket("s3://b/x")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            clouds.open_bucket("s3://b/y")
        except StoreError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert "multiprocessing_context='spawn'" in said.read()


def test_a_url_keeps_what_is_shown_of_it() -> None:
    for url in PLACES:
        if "@" not in url:
            assert urls.shown(url) == url
