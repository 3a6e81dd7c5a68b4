"""What is installed is what is in the tree: packages, data files, pinned versions, configurations."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.places import REPOSITORY

from pipeline import embedded
from pipeline.settings.files import demo_text, load_config

CONFIGURATIONS = sorted((REPOSITORY / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def package_folders(setup: ConfigParser) -> dict[str, Path]:
    """Listed packages and the folders that hold them."""
    moved = dict(
        tuple(part.strip() for part in line.split("=")) for line in lines(setup["options"]["package_dir"])
    )
    names = lines(setup["options"]["packages"])
    return {name: REPOSITORY / moved.get(name, name.replace(".", "/")) for name in names}


def test_every_package_folder_is_listed_and_every_listed_one_exists(setup: ConfigParser) -> None:
    folders = package_folders(setup)
    assert [name for name, folder in folders.items() if not folder.is_dir()] == []
    found = {path.parent for top in ("fstore", "pipeline") for path in (REPOSITORY / top).rglob("*.py")}
    assert found <= set(folders.values())


def test_the_patterns_of_package_data_match_every_data_file_and_each_matches_one(setup: ConfigParser) -> None:
    folders = package_folders(setup)
    matched: set[Path] = set()
    for package, patterns in setup["options.package_data"].items():
        for pattern in patterns.split(","):
            found = set(folders[package].glob(pattern.strip()))
            assert found, f"{package}: {pattern.strip()} matches no file"
            matched |= found
    files = {path for folder in folders.values() for path in folder.iterdir() if path.is_file()}
    assert {path for path in files if path.suffix not in (".py", ".pyc")} <= matched


def test_the_embedded_configuration_and_checkpoint_are_found_and_small() -> None:
    assert "demo = true" in demo_text()
    checkpoint = embedded.checkpoint_path()
    assert checkpoint.is_file()
    assert checkpoint.stat().st_size <= 4 * 2**20


def test_every_requirement_is_pinned_to_a_version_that_it_allows(setup: ConfigParser) -> None:
    pins = dict(
        line.split("==")
        for line in lines((REPOSITORY / "constraints.txt").read_text())
        if not line.startswith("#")
    )
    extras = setup["options.extras_require"]
    wanted = [
        Requirement(line)
        for text in (setup["options"]["install_requires"], *extras.values())
        for line in lines(text)
    ]
    for requirement in wanted:
        assert requirement.name in pins, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pins[requirement.name]), f"{requirement} excludes the pin"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    config = load_config(path)
    colors = [entry.color for entry in config.annotations.classes]
    assert config.annotations.classes[0].name == "background"
    assert None not in colors
    assert len(set(colors)) == len(colors)
    assert config.demo == (path.stem == "demo")


@pytest.mark.parametrize(
    ("name", "num_classes", "resolution", "crop_rows", "truncation_layers"),
    [("face_34", 34, 512, None, 8), ("car_20", 20, 512, (64, 448), 8), ("cat_16", 16, 256, None, 7)],
)
def test_the_released_experiments_are_data(
    name: str, num_classes: int, resolution: int, crop_rows, truncation_layers: int
):
    path = REPOSITORY / "configs" / f"{name}.toml"
    config = load_config(path)
    assert len(config.annotations.classes) == num_classes
    assert (config.features.resolution, config.features.crop_rows) == (resolution, crop_rows)
    assert (config.generator.truncation, config.generator.truncation_layers) == (0.7, truncation_layers)
    files = (
        config.generator.checkpoint,
        config.generator.average_latent,
        config.latents.file,
        config.annotations.folder,
    )
    assert all(file is not None and file.is_relative_to(path.parent) for file in files)


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_data_file_and_finds_its_data(
    tmp_path: Path, setup: ConfigParser
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("fstore", "pipeline", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{package.replace('.', '/')}/{path.name}"
        for package, folder in package_folders(setup).items()
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".pyc"
    }
    for package, patterns in setup["options.package_data"].items():
        folder = package_folders(setup)[package]
        found = (path for pattern in patterns.split(",") for path in folder.glob(pattern.strip()))
        expected |= {f"{package.replace('.', '/')}/{path.relative_to(folder)}" for path in found}
    assert inside == expected
    code = "from importlib import resources; from pipeline import embedded; "
    code += "assert embedded.checkpoint_path().is_file(); "
    code += "print(resources.files('pipeline.configs') / 'demo.toml')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": "installed"},
    )
    assert (tmp_path / run.stdout.strip()).read_text(encoding="utf-8") == demo_text()
