"""The writer's lock on object storage: one writer, whose name others are told, and no lock for ever."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings

import pytest
from support.object_storage import objects, put
from support.stores import fill, make_meta

import fstore
from fstore import object_lock
from fstore.errors import StoreError, StoreWarning
from fstore.location import LOCK, Location
from fstore.object_lock import ObjectLock, Owner
from fstore.objects import Bucket
from fstore.processes import start_of


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/s.zarr"


def here(**changes: object) -> Owner:
    return dataclasses.replace(object_lock._this_process("another"), **changes)  # type: ignore[arg-type]


def leave(url: str, owner: Owner) -> None:
    """A lock that somebody has made and not removed."""
    put(url, LOCK, json.dumps(dataclasses.asdict(owner)).encode())


def dead_process() -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_second_writer_is_refused_and_told_of_the_first_until_it_lets_go(url: str) -> None:
    lock = ObjectLock(Location.parse(url))
    with pytest.raises(StoreError, match=rf"^{url}: another writer of this process has it open; close that"):
        ObjectLock(Location.parse(url))
    for check in (lambda: fill(url, make_meta()), lambda: object_lock.check_unlocked(Location.parse(url))):
        with pytest.raises(StoreError, match="another writer"):
            check()
    lock.release()
    lock.release()
    assert objects(url) == {}
    ObjectLock(Location.parse(url)).release()


def test_a_writer_elsewhere_is_named_with_host_process_and_age(url: str) -> None:
    leave(url, here(host="gpu-7", process=4711, time="2020-01-01T00:00:00+00:00"))
    with pytest.raises(StoreError) as caught:
        fill(url, make_meta())
    line = str(caught.value)
    assert "process 4711 on host gpu-7, since" in line and "days; wait for it, or pass --break-lock" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "gpu-7"},  # elsewhere: nobody knows
        {"boot": "another"},
        {"namespace": "pid:[1]"},  # a container of the same name has other numbers
    ],
    ids=str,
)
def test_a_lock_of_elsewhere_is_never_taken_over(url: str, changes: dict[str, str]) -> None:
    leave(url, here(process=dead_process(), **changes))
    with pytest.raises(StoreError, match="another writer has it open"):
        ObjectLock(Location.parse(url))


def test_a_process_that_runs_keeps_its_lock_also_from_being_broken(url: str) -> None:
    parent = os.getppid()
    leave(url, here(process=parent, started=start_of(parent)))
    with pytest.raises(StoreError, match=f"another writer has it open, process {parent}"):
        ObjectLock(Location.parse(url))
    with pytest.raises(StoreError, match=f"its writer still runs, process {parent}"):
        fstore.break_lock(url)


@pytest.mark.parametrize(
    "changes",
    [
        {"process": -1},  # replaced by one that has ended
        {"process": os.getppid(), "started": "1"},  # the number has been given to another since
        {"started": start_of(os.getpid())},  # an earlier writer of this process that let go badly
    ],
    ids=["ended", "number-used-again", "own"],
)
def test_the_lock_of_a_process_of_this_machine_that_is_gone_is_taken_over(url: str, changes: dict) -> None:
    if changes.get("process") == -1:
        changes = {"process": dead_process()}
    leave(url, here(**changes))
    lock = ObjectLock(Location.parse(url))
    assert json.loads(objects(url)[LOCK])["owner"] == lock._owner.owner
    lock.release()
    assert objects(url) == {}


def test_a_broken_lock_is_named_and_its_owner_does_not_remove_the_next_one(url: str) -> None:
    leave(url, here(host="gpu-7", process=4711))
    with pytest.warns(StoreWarning, match=rf"^{url}: broke the lock of process 4711 on host gpu-7") as caught:
        writer = fstore.create(url, make_meta(), num_images=1, latent_shape=(8,), break_lock=True)
    assert len(caught) == 1
    held = objects(url)[LOCK]
    object_lock._let_go(Bucket(url), "another", os.getpid())  # what the one on gpu-7 does at its end
    assert objects(url)[LOCK] == held
    writer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fstore.break_lock(url)  # there is none


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"process": "x"}', b"\xff" * 9], ids=repr)
def test_a_lock_that_cannot_be_read_is_one_and_can_be_broken(url: str, content: bytes) -> None:
    put(url, LOCK, content)
    with pytest.raises(
        StoreError, match=r"another writer has it open, process 0 on host unknown, since \d+ sec"
    ):
        ObjectLock(Location.parse(url))
    with pytest.warns(StoreWarning, match="host unknown"):
        fstore.break_lock(url)
    ObjectLock(Location.parse(url)).release()


def test_of_two_that_take_over_one_lock_one_has_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other has taken it between this one's look and its put."""
    leave(url, here(process=dead_process()))
    read = object_lock._read

    def overtaken(found):
        owner = read(found)
        if owner.owner == "another":
            leave(url, here(owner="the faster one", host="gpu-7"))
        return owner

    monkeypatch.setattr(object_lock, "_read", overtaken)
    with pytest.raises(StoreError, match="on host gpu-7"):
        ObjectLock(Location.parse(url))


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_storage_without_conditional_puts_says_so_and_is_written(
    url: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore
    from obstore.exceptions import NotSupportedError

    plain = obstore.put

    def unconditional(store, key, content, *, mode):
        if how == "refused":
            raise NotSupportedError("PutMode")
        return plain(store, key, content)

    monkeypatch.setattr(obstore, "put", unconditional)
    with pytest.warns(StoreWarning, match=r"cannot be locked .it knows no conditional put., so two writers"):
        fill(url, make_meta(), num_images=1)
    assert fstore.verify_store(url).ok and LOCK not in objects(url)


def test_a_writer_that_is_forgotten_lets_go(url: str) -> None:
    fill(url, make_meta(), num_images=1)  # it closes nothing
    assert LOCK not in objects(url)


def test_the_lock_is_no_part_of_the_store(url: str) -> None:
    fill(url, make_meta(), num_images=1)
    writer = fstore.create(url, make_meta(), num_images=1, latent_shape=(8,))
    location = Location.parse(url)
    keys = location.keys()
    assert LOCK in objects(url) and LOCK not in keys
    assert fstore.verify_store(url).ok
    assert location.used_bytes() == sum(len(v) for key, v in objects(url).items() if key != LOCK)
    writer.close()


def test_a_place_with_a_lock_alone_is_empty(url: str) -> None:
    leave(url, here(host="gpu-7"))
    assert Location.parse(url).state() == "absent"
