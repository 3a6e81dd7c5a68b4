"""Opens object storage by obstore: ``s3://``, ``gs://``, ``az://`` and what else these are called.

Credentials, region and endpoint come from the environment, as boto has it, and never from a URL. It knows how
a bucket is opened. It does not know what is kept there.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fstore import urls
from fstore.errors import StoreError

_S3, _GOOGLE, _AZURE = ("s3", "s3a"), ("gs", "gcs"), ("az", "azure", "adl", "abfs", "abfss")
CLOUD_SCHEMES = (*_S3, *_GOOGLE, *_AZURE)
PAGE = 1000  # objects that storage names, or deletes, with one request
CONNECT_TIMEOUT, REQUEST_TIMEOUT = "10s", "120s"
_ENDPOINTS = {  # the variables that name the address of a service, the first that is set counts
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "azure": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "google": ("GOOGLE_BASE_URL",),
}
_OTHER_CREDENTIALS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)
_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "HOME")
_forked = False
_opened = False


def is_cloud(url: str) -> bool:
    """Whether obstore opens the URL."""
    return urls.is_url(url) and urls.scheme_of(url) in CLOUD_SCHEMES


def open_bucket(url: str) -> Any:
    """The obstore store of a URL, with its path as prefix. Nothing is asked of the server.

    It retries nothing itself, so that retries are counted. Raises StoreError of one line where obstore is
    not installed, the URL has a part that is not used, or the environment lacks something.
    """
    global _opened
    _check_url(url)
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise StoreError(
            f"{urls.shown(url)}: URLs of scheme {urls.scheme_of(url)!r} need obstore; run: "
            "pip install 'dgan[cloud]'"
        ) from None
    check_not_forked(url)
    _opened = True
    found = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES)))
    return _open(url, found)


@lru_cache(maxsize=32)
def _open(url: str, environment: tuple[tuple[str, str], ...]) -> Any:
    """The same, kept as long as the ``environment`` is the same: it has connections that are used again."""
    from obstore import store as kinds

    bucket, _, path = url.partition("://")[2].partition("/")
    options = _options(url)
    options["prefix"] = path.strip("/") or None
    try:
        if urls.scheme_of(url) in _S3:
            return kinds.S3Store(bucket, **options, **_s3_options())
        if urls.scheme_of(url) in _GOOGLE:
            return kinds.GCSStore(bucket, **options)
        if "@" in bucket:  # abfss://container@account.dfs.core.windows.net/path
            del options["prefix"]
            return kinds.from_url(url, **options)
        return kinds.AzureStore(bucket, **options)
    except StoreError:
        raise
    except Exception as error:
        reason = urls.hide(str(error).strip().partition("\n")[0], url)[:200]
        raise StoreError(f"{urls.shown(url)}: cannot be opened ({reason}); see to the environment") from None


def check_not_forked(url: str) -> None:
    """Refuse to go on in a process that was forked after a bucket was opened: its requests would hang."""
    if _forked:
        raise StoreError(
            f"{urls.shown(url)}: a forked process cannot use object storage that its parent has opened; "
            "start processes by spawn: DataLoader(..., multiprocessing_context='spawn')"
        )


def _note_fork() -> None:
    global _forked
    _forked = _opened


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def _check_url(url: str) -> None:
    """Refuse what would be dropped: credentials in the URL, a query, a fragment, a bucket without a name."""
    shown, rest = urls.shown(url), url.partition("://")[2]
    azure_account = urls.scheme_of(url) in _AZURE and ":" not in rest.partition("@")[0]
    if ("@" in rest.partition("/")[0] and not azure_account) or urls.shown(url).count("/") > url.count("/"):
        raise StoreError(
            f"{shown}: was given with credentials in it, which are not used; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if shown != url and not azure_account:
        raise StoreError(f"{shown}: has a '?', a '#' or credentials; write bucket and path alone")
    if not rest.partition("/")[0]:
        raise StoreError(f"{shown}: names no bucket; expected such as s3://bucket/x.zarr")
    if any(part in ("", ".", "..") for part in rest.strip("/").split("/")):
        raise StoreError(f"{shown}: its path has an empty part, '.' or '..'; write it without")


def _options(url: str) -> dict[str, Any]:
    """Options of every cloud. Plain http is allowed only where the endpoint is written so."""
    scheme = urls.scheme_of(url)
    cloud = "s3" if scheme in _S3 else "google" if scheme in _GOOGLE else "azure"
    client = {"timeout": REQUEST_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT}
    if (endpoint(cloud) or "").lower().startswith("http://"):
        client["allow_http"] = True  # type: ignore[assignment]
    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2}
    retry = {"max_retries": 0, "retry_timeout": timedelta(minutes=3), "backoff": backoff}
    return {"client_options": client, "retry_config": retry}


def endpoint(cloud: str) -> str | None:
    """The service's address by the environment, None for the cloud's own."""
    return next((os.environ[name] for name in _ENDPOINTS[cloud] if os.environ.get(name)), None)


def _s3_options() -> dict[str, Any]:
    """Endpoint and, where a profile has them and boto3 is installed, credentials and region."""
    options: dict[str, Any] = {}
    if (address := endpoint("s3")) is not None:
        options["endpoint"] = address
    if any(os.environ.get(name) for name in _OTHER_CREDENTIALS) or not _has_profile():
        return options
    if find_spec("boto3") is None:
        if os.environ.get("AWS_PROFILE"):
            raise StoreError("AWS_PROFILE is set, which only boto3 reads; run: pip install boto3")
        return options
    return {**options, **_of_profile()}


def _has_profile() -> bool:
    """Whether boto would look into files of profiles."""
    variables = ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    files = (Path.home() / ".aws" / name for name in ("credentials", "config"))
    return any(os.environ.get(name) for name in variables) or any(file.exists() for file in files)


def _of_profile() -> dict[str, Any]:
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return {}
        return {"credential_provider": Boto3CredentialProvider(session)}
    except BotoCoreError as error:
        raise StoreError(f"the AWS profile cannot be used ({error}); see to AWS_PROFILE and ~/.aws") from None
