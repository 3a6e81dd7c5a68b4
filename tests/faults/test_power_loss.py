"""The power fails in the middle of a command: what counts as whole is whole, and the same command goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.fault_commands import MORE, NAMES, TASK_IMAGES, TRANSLATE_TRAIN, Command, Workshop, content
from support.fault_table import SURVIVED
from support.power_loss import Forced, cut_power, drawn_moment, moments, run_until_cut

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from pipeline.exports.marks import MARK
from pipeline.interpreter.files import Interpreter, load_interpreter

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")


@pytest.fixture(scope="module")
def recorded(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The moments of an undisturbed run of a command."""
    found: dict[str, list[str]] = {}

    def of(name: str) -> list[str]:
        if name not in found:
            folder, command = tmp_path_factory.mktemp(name), workshop.command(name)
            command.prepare(folder)
            found[name] = moments(command.words, folder, TASK_IMAGES, command.begin)
        return found[name]

    return of


@pytest.mark.parametrize(("name", "number"), [*named(NAMES, (), 6), *named((*MORE, TRANSLATE_TRAIN), (), 3)])
def test_after_a_power_cut_nothing_counts_that_is_not_whole_and_the_command_goes_on(
    workshop: Workshop,
    recorded: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    command, events, chance = workshop.command(name), recorded(name), drawn("power", name, number)
    interpreter = load_interpreter(workshop.out("train"))
    monkeypatch.setattr(fmt, "TASK_IMAGES", TASK_IMAGES)
    command.prepare(tmp_path)
    for _ in range(chance.randint(1, 2)):
        moment = drawn_moment(events, chance)
        run_until_cut(command.words, tmp_path, TASK_IMAGES, moment, chance, begin=command.begin)
        check_what_counts(command, interpreter, tmp_path / "out")
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)


def check_what_counts(command: Command, interpreter: Interpreter, out: Path) -> None:
    """Every image that is committed is whole; an interpreter or an export that says it is whole is so."""
    if (out / "zarr.json").exists():
        try:
            report = fstore.verify_store(out)
        except StoreError as error:
            assert "its creation was cut off" in str(error)
            return
        assert report.ok, report.problems
    elif (out / "interpreter.json").exists():
        assert load_interpreter(out).sha256 == interpreter.sha256
    elif (out / MARK).exists():
        found = content(out)  # and what is not deleted yet
        assert {name: found.get(name) for name in command.whole} == command.whole


def states(folder: Path, change: Callable[[Path, Forced], None]) -> set[tuple[tuple[str, bytes], ...]]:
    """What a disk may hold of ``folder`` after a ``change`` and a power cut, of many draws."""
    found = set()
    for number in range(60):
        place = folder / str(number)
        place.mkdir()
        (place / "old").write_bytes(b"old")
        forced = Forced.of(place)
        change(place, forced)
        cut_power(place, forced, random.Random(number))
        found.add(tuple(sorted((file.name, file.read_bytes()) for file in place.iterdir())))
    return found


def test_what_is_not_forced_may_be_lost_or_torn(tmp_path: Path) -> None:
    found = states(tmp_path, lambda place, forced: (place / "new").write_bytes(b"12"))
    old = ("old", b"old")
    assert {(old,), (("new", b""), old), (("new", b"12"), old), (("new", b"\0\0"), old)} <= found


def test_what_is_forced_stays(tmp_path: Path) -> None:
    def change(place: Path, forced: Forced) -> None:
        file = place / "new"
        file.write_bytes(b"12")
        forced.content[file.stat().st_ino] = b"12"
        forced.force_folder(place, ".")

    assert states(tmp_path, change) == {(("new", b"12"), ("old", b"old"))}


def test_a_forced_file_takes_the_place_of_another_whole_or_not_at_all(tmp_path: Path) -> None:
    def change(place: Path, forced: Forced) -> None:
        file = place / "new"
        file.write_bytes(b"12")
        forced.content[file.stat().st_ino] = b"12"
        file.replace(place / "old")

    assert states(tmp_path, change) == {(("old", b"12"),), (("old", b"old"),)}
