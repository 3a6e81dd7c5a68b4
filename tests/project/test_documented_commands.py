"""Every command, make target and Python snippet of the pages is one that works.

All code that begins with ``dgan``, a command's name and flags, or a flag is read by click as the command
reads it. What stands in blocks is run too, in the order of the page, in one folder of toy inputs a page.
"""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import shutil
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from support.command_lines import COMMANDS, inline_problem, name_of, read_by_click
from support.commands import dgan
from support.markdown import INLINE, PAGES, PYTHON, SHELL, TOML, Code, Command, codes, shell_commands
from support.places import REPOSITORY
from support.thin_networks import thin_networks
from support.toy_project import annotate, make_project

import pipeline
from pipeline.settings.files import load_config

HISTORY = ("CHANGELOG.md",)  # it may name what is gone
CHECKED = [page for page in PAGES if page not in HISTORY]
LONG = (
    *("filter-info-verify", "from-other-tools", "sample", "second-round", "segment", "tour", "translate"),
    *("README", "CONTRIBUTING", "calibrate", "evaluate", "extract-features", "python", "to-other-tools"),
)
"""Pages whose blocks take a second and more: the fast tests read them, and do not run them."""
PROGRAMS = ("dgan", "make", "python", "bash", "cd")
TARGETS = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
TOUR = [
    *("sample", "extract-features", "train", "synthesize", "export"),
    *("demo", "segment", "segment", "segment", "demo", "translate", "translate"),
]
LARGEST_PICTURE_BYTES = 200_000  # of a clone everybody has them
NUM_PHOTOGRAPHS = 4  # of the demo's renderer
LONG_NUM = 64  # of synthesize: a task; more is planned, and not made

# Commands of blocks that are read, and not run.
ONLY_READ: dict[str, str] = {
    "dgan view dataset.zarr --port 8765 --no-browser": "another program may listen at that port",
    "dgan segment test segmenter --images portraits/images --annotations portraits/labels": "the toy has "
    "other classes than the demo's renderer",
    "dgan extract-features --layout pyramid --workers 4": "starts four processes; tests/cluster does so",
    "dgan export dataset.zarr out --format coco --workers 4": "the same",
    "dgan synthesize --num 100000 --scheduler tcp://node1:8786": "there is no such scheduler",
    "dgan synthesize --num 100000 --scheduler /shared/scheduler.json": "there is no such scheduler",
}
# Libraries that the tests do not install: Python snippets that need one are compiled only.
NOT_INSTALLED = "dask_jobqueue|dask_kubernetes|detectron2|torchvision"
# Pages that begin in an empty folder: here in one with inputs and settings, but without stores.
WITHOUT_STORES = ("docs/python.md",)
# Pages whose Python has a test of its own, because it wants other stores; here it is compiled only.
OWN_TEST = {
    "docs/evaluate.md": "tests/project/test_evaluate_page.py",
    "docs/training-on-a-dataset.md": "tests/project/test_training_page.py",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("documented") / "project")


@pytest.fixture(scope="module", autouse=True)
def _segmenters_are_small() -> Iterator[None]:
    """What is shown of `dgan segment` does not depend on the number of channels, and its time does."""
    with thin_networks():
        yield


@pytest.fixture(autouse=True)
def _views_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dgan view` runs until it is interrupted. Here it listens, opens no browser, and ends."""
    monkeypatch.setattr("pipeline.viewer.server.Server.serve_forever", lambda self: None)
    monkeypatch.setattr("pipeline.viewer.run.open_page", lambda address: None)


@pytest.fixture
def folder(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a page, as a reader of it has one."""
    shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def shortened(words: tuple[str, ...]) -> list[str]:
    """The command as the test runs it: what is long is planned and not made, or has less to choose from."""
    options = COMMANDS[str(name_of(words))].params
    if "--photographs" in words:
        place = words.index("--photographs") + 1
        words = (*words[:place], str(NUM_PHOTOGRAPHS), *words[place + 1 :])
    num = int(words[words.index("--num") + 1]) if "--num" in words else 0
    asks = words[0] == "sample" and not {"--uncertain", "--interpreter"}.isdisjoint(words)
    if asks and "--pool" not in words:
        return [*words, "--pool", str(num + 1)]
    is_long = num > LONG_NUM or "--steps" in words
    if is_long and "--dry-run" not in words and any("--dry-run" in option.opts for option in options):
        return [*words, "--dry-run"]
    return list(words)


def run_dgan(command: Command) -> None:
    """Run a command. Where an earlier block of the page left a store of other settings, it is replaced."""
    words = command.words[1:]
    read_by_click(words)
    if "://" in command.text:  # of a bucket that is not there: tests/storage/ runs such commands
        return
    if command.text in ONLY_READ or words[0].startswith("-"):
        return
    result = dgan(*shortened(words))
    if result.exit_code == 2 and "--overwrite" in result.stderr:
        result = dgan(*shortened(words), "--overwrite")
    torch.set_num_threads(1)  # as tests/conftest.py has it
    assert result.exit_code == 0, f"{command.place}: {command.text}\n{result.output}"
    if words[0] == "filter" and "auto" in words:  # what it keeps of few images hangs on the processor
        assert dgan("filter", words[1], "--keep", "1").exit_code == 0
    if words[0] == "sample" and "--dry-run" not in shortened(words):
        annotate(Path(words[words.index("--out") + 1] if "--out" in words else "annotate"))


def check_other(command: Command) -> None:
    """A make target, a module or a script that a page names is there, and the module has the flags."""
    first, *rest = command.words
    if first == "make":
        named = [word for word in rest if "=" not in word and "..." not in word]
        assert set(named) <= set(TARGETS), f"{command.place}: {command.text}"
    elif first == "bash":
        assert (REPOSITORY / rest[0]).is_file(), f"{command.place}: {command.text}"
    elif rest[:1] == ["-m"]:
        spec = find_spec(rest[1])
        assert spec is not None and spec.origin is not None, f"{command.place}: {command.text}"
        source = "".join(path.read_text() for path in Path(spec.origin).parent.glob("*.py"))
        unknown = [word for word in rest[2:] if word.startswith("--") and f'"{word}"' not in source]
        assert unknown == [], f"{command.place}: {command.text}"
    else:
        assert (REPOSITORY / rest[0]).is_file(), f"{command.place}: {command.text}"


def run_python(code: Code, names: dict[str, object]) -> None:
    compiled = compile("\n" * code.line + code.text, code.page, "exec")
    if code.page in OWN_TEST or re.search(rf"^(import|from) ({NOT_INSTALLED})\b", code.text, re.MULTILINE):
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # of pycocotools
        exec(compiled, names)


def use_toml(code: Code) -> None:
    """Settings must be ones that there are; a file that is named in the first line is for later commands."""
    name = re.match(r"# (\w+\.toml)\n", code.text)
    path = Path(name[1] if name else "settings.toml")
    assert not path.exists(), f"{code.place}: {path} would be replaced"
    path.write_text(code.text)
    if name is None:
        load_config(path)
        path.unlink()


@pytest.mark.parametrize("page", CHECKED)
def test_inline_code_is_taken_by_the_commands(page: str) -> None:
    found = [(code, inline_problem(code.text)) for code in codes(page) if code.kind == INLINE]
    assert [f"{code.place}: {code.text}: {said}" for code, said in found if said] == []


@pytest.mark.filterwarnings(r"ignore:unclosed file.*\.tar:ResourceWarning")  # webdataset does not close them
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if Path(page).stem in LONG else ()) for page in CHECKED],
)
def test_the_blocks_of_a_page_run_in_their_order(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))  # of `python -m benchmarks`
    if any(code.kind == PYTHON and "from datasets import" in code.text for code in codes(page)):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
    if page in WITHOUT_STORES:
        for made in ("features.zarr", "interpreter", "dataset.zarr"):
            shutil.rmtree(made)
    names: dict[str, object] = {"__name__": "page"}
    for code in codes(page):
        monkeypatch.chdir(folder)
        if code.kind == PYTHON:
            run_python(code, names)
        elif code.kind == TOML:
            use_toml(code)
        for command in shell_commands(code, PROGRAMS) if code.kind == SHELL else ():
            if command.words[0] == "cd":
                monkeypatch.chdir(command.words[1])
            elif command.words[0] == "dgan":
                run_dgan(command)
            else:
                check_other(command)


@pytest.mark.parametrize("page", [page for page in CHECKED if Path(page).stem in LONG])
def test_the_blocks_of_a_long_page_can_be_read(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    for code in codes(page):
        if code.kind == PYTHON:
            compile(code.text, page, "exec")
        for command in shell_commands(code, PROGRAMS) if code.kind == SHELL else ():
            if command.words[0] == "dgan":
                read_by_click(command.words[1:])
            elif command.words[0] != "cd":
                check_other(command)


@pytest.mark.parametrize("page", CHECKED)
def test_calls_in_inline_code_have_the_keywords_that_there_are(page: str) -> None:
    for code in codes(page):
        if code.kind == INLINE and re.fullmatch(r"pipeline\.\w+\(.+\)", code.text, re.DOTALL):
            (call,) = (node for node in ast.walk(ast.parse(code.text)) if isinstance(node, ast.Call))
            function = getattr(pipeline, ast.unparse(call.func).removeprefix("pipeline."))
            keywords = {str(each.arg): None for each in call.keywords}
            inspect.signature(function).bind(*call.args, **keywords)


@pytest.mark.parametrize("page", CHECKED)
def test_targets_and_modules_of_inline_code_are_there(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    for code in codes(page):
        for command in shell_commands(code, ("make", "python", "bash")) if code.kind == INLINE else ():
            check_other(command)


@pytest.mark.slow
def test_the_pictures_of_the_tour_are_drawn_from_what_its_commands_make(folder: Path) -> None:
    pictures = runpy.run_path(str(REPOSITORY / "docs" / "pictures.py"))
    assert [command.split()[1] for command in pictures["commands"]()] == TOUR
    dgan("export", "dataset.zarr", "dataset", "--format", "png", "--split", "train=0.9,val=0.1")
    pictures["draw_training"](folder / "interpreter", folder / "train.png")
    for drawn in (
        pictures["draw_features"](folder / "features.zarr"),
        pictures["draw_dataset"](folder / "dataset.zarr"),
        pictures["draw_export"](folder / "dataset"),
        pictures["draw_predictions"](*[folder / "dataset" / "train" / "images"] * 3),
        pictures["draw_translation"](*[folder / "dataset.zarr"] * 2, folder / "images"),
    ):
        assert len(drawn.getcolors(2**20)) > 4
    for picture in (REPOSITORY / "docs" / "tour").iterdir():
        assert picture.stat().st_size < LARGEST_PICTURE_BYTES


def test_pages_whose_python_is_run_elsewhere_are_there_with_their_tests() -> None:
    assert [path for pair in OWN_TEST.items() for path in pair if not (REPOSITORY / path).is_file()] == []


def test_what_is_only_read_is_in_a_page() -> None:
    found = {
        command.text
        for page in CHECKED
        for code in codes(page)
        if code.kind == SHELL
        for command in shell_commands(code, ("dgan",))
    }
    assert set(ONLY_READ) <= found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("dgan train --stor features.zarr", id="an unknown flag"),
        pytest.param("dgan trian", id="an unknown command"),
        pytest.param("dgan synthesize --keep 1.5", id="a value out of range"),
        pytest.param("dgan extract-features --layout pyramids", id="a wrong choice"),
        pytest.param("--layout pyramids", id="a flag alone with a wrong choice"),
        pytest.param("--layot", id="an unknown flag that is named"),
        pytest.param("train --tile 64", id="a flag of another command"),
        pytest.param("dgan filter dataset.zarr", id="a required flag is missing"),
    ],
)
def test_a_wrong_command_is_found(text: str) -> None:
    assert inline_problem(text) is not None


@pytest.mark.parametrize(
    "text", ["dgan train", "--keep", "--keep 0.9", "train --cache none", "dgan train --help", "some words"]
)
def test_a_right_one_is_taken(text: str) -> None:
    assert inline_problem(text) is None
