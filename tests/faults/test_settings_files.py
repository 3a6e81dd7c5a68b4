"""A file of settings with anything in it is read, or refused in one line that names it: TOML, released JSON
experiments, lists of classes, latents and masks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.commands import dgan
from support.confined import confined
from support.fault_cases import drawn, numbers
from support.fault_table import REFUSED, SURVIVED
from support.fuzzing import check_end, limited
from support.mutations import mutated_bytes, mutated_value
from support.tiny import write_inputs

from pipeline.errors import UsageError
from pipeline.settings.files import load_config, to_toml
from pipeline.settings.schema import SECTIONS

TRIES = 8  # of one case
VALUES = (
    *(
        '""',
        '"x"',
        '"a\\u001b[31m"',
        '"../x"',
        '"/dev/zero"',
        "''",
        '"none"',
        '"1:0"',
        '"\\u0000"',
        "true",
        "false",
    ),
    *(
        "0",
        "-1",
        "1",
        "0x10",
        "1_000",
        "9223372036854775808",
        "1" + "0" * 30,
        "9" * 5000,
        "0.5",
        "-0.0",
        "1e-400",
    ),
    *("1e400", "nan", "inf", "-inf", "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "[]", "[1]", "[1, 2]"),
    *(
        '["a", "a"]',
        "[[[1]]]",
        "{}",
        "{x = 1}",
        '{name = "x"}',
        "[1, 'a']",
        "+1",
        "01",
        "1.",
        "\u0663",
        "",
        "[",
        "=",
    ),
)
WHOLE_FILES = (
    *(
        b"",
        b"\xef\xbb\xbf[train]\nmembers = 2\n",
        b"\xff\xfe[\x00t\x00",
        b"\x00" * 100,
        b"[train\n",
        b"[[train]]\n",
    ),
    *(
        b"a = " + b"[" * 50_000,
        b"[train]\nseed = 1\nseed = 2\n",
        b"[train]\n[train]\n",
        b"train.seed = 1\n[train]\n",
    ),
    *(
        b"[train]\r\nseed = 1\r\n",
        b"# " + b"x" * 100_000,
        b'"' + b"k" * 100_000 + b'" = 1\n',
        b"a" + b".a" * 5000 + b"=1\n",
    ),
    *(
        b"[train.seed]\nx = 1\n",
        b"train = 3\n",
        b'["\\u001b[31m"]\n',
        b'[train]\n"a\\nb" = 1\n',
        b"[annotations]\nclasses = 3\n",
    ),
    *(
        b"[[annotations.classes]]\n" * 3,
        b"[[annotations.classes]]\nname = 3\n",
        b"demo = 1\n",
        b"x = '''" + b"\n" * 1000,
    ),
)
EXPERIMENT = {
    "exp_dir": "model", "stylegan_checkpoint": "in/checkpoint.pt", "average_latent": "", "batch_size": 64,
    "category": "face", "debug": False, "dim": [32, 32, 88], "deeplab_res": 32, "number_class": 4,
    "model_num": 2,
    "annotation_image_latent_path": "in/latents.npy", "annotation_mask_path": "in/masks", "max_training": 4,
    "testing_data_number_class": 4, "testing_path": "", "stylegan_ver": "1", "annotation_data_from_w": False,
    "upsample_mode": "bilinear",
}  # fmt: skip
WORDS = ("extract-features", "--latents", "in/latents.npy", "--annotations", "in/masks", "--dry-run")
CLASS_FILES = {
    "classes.toml": b'ignore = 255\n[[classes]]\nname = "sky"\n[[classes]]\nname = "a"\ncolor = "#0f0f0f"\n',
    "labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ndoor:1,2,3::\n",
    "_classes.csv": b"Pixel Value, Class\n0, background\n1, door\n",
    "class_names.txt": b"0: background\n1: door\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tried(folder: Path, file: Path, *words: object) -> str:
    """What a command comes to that reads ``file``; it names the file where it refuses it."""
    with limited(), confined(folder):
        result = dgan(*words)
    outcome = check_end(result)
    assert "out of memory" not in result.output
    return outcome


def toml(chance: random.Random) -> bytes:
    """Some keys of the settings, each with any value, perhaps in the wrong table."""
    lines = []
    for section in chance.sample(list(SECTIONS), chance.randint(1, 3)):
        lines.append(chance.choice([f"[{section}]"] * 8 + [f"[[{section}]]", f"[{section}.x]", "[unknown]"]))
        names = [item.name for item in fields(SECTIONS[section])]
        keys = chance.sample(names, min(len(names), chance.randint(0, 3)))
        keys += chance.choice([[]] * 6 + [["unknown"], ['"\\u001b"'], keys])
        lines += [f"{key} = {chance.choice(VALUES)}" for key in keys]
    content = "\n".join(lines).encode() + b"\n"
    return mutated_bytes(content, chance) if chance.random() < 0.1 else content


@pytest.mark.parametrize("number", numbers(1, 6))
def test_any_toml_file_is_read_or_refused_by_name(
    folder: Path, number: int, note: Callable[[str], None]
) -> None:
    chance, file = drawn("toml", number), folder / "dgan.toml"
    for content in [toml(chance) for _ in range(TRIES)] + chance.sample(WHOLE_FILES, 2):
        file.write_bytes(content)
        note(tried(folder, file, *WORDS))
        (folder / "other.toml").write_bytes(content)
        note(tried(folder, file, "train", "--config", "other.toml", "--dry-run"))


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_with_every_value_is_read_or_named(
    folder: Path, section: str, note: Callable[[str], None]
) -> None:
    for item in fields(SECTIONS[section]):
        for value in VALUES:
            file = folder / "exp.toml"
            file.write_text(f"[{section}]\n{item.name} = {value}\n")
            try:
                to_toml(load_config(file))
            except UsageError as error:
                line = str(error)
                assert "exp.toml" in line and (item.name in line or "not valid TOML" in line), line
                assert line.isprintable() and len(line) < 600, line
                note(REFUSED)
            else:
                note(SURVIVED)


@pytest.mark.parametrize("number", numbers(1, 6))
def test_any_experiment_of_a_release_is_read_or_refused_by_name(
    folder: Path, number: int, note: Callable[[str], None]
) -> None:
    chance, file = drawn("experiment", number), folder / "experiment.json"
    for _ in range(TRIES):
        document = json.loads(json.dumps(EXPERIMENT))
        for _ in range(chance.randint(1, 3)):
            document = mutated_value(document, chance)
        content = json.dumps(document).encode()
        file.write_bytes(mutated_bytes(content, chance) if chance.random() < 0.2 else content)
        note(tried(folder, file, *WORDS, "--config", file.name))


@pytest.mark.parametrize("number", numbers(1, 3))
@pytest.mark.parametrize("name", CLASS_FILES)
def test_any_list_of_classes_is_read_or_refused_by_name(
    folder: Path, name: str, number: int, note: Callable[[str], None]
) -> None:
    chance, file = drawn("classes", name, number), folder / name
    (folder / "dgan.toml").write_text(
        f'[generator]\ncheckpoint = "in/checkpoint.pt"\n[annotations]\nclasses_file = "{name}"\n'
    )
    for _ in range(TRIES):
        file.write_bytes(mutated_bytes(CLASS_FILES[name], chance))
        note(tried(folder, file, *WORDS))


def claimed(shape: str, dtype: str = "<f4", version: int = 1) -> bytes:
    """An .npy file of 64 values whose header claims any shape."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header + bytes(256)


ARRAYS = (
    *(
        claimed(f"({10**15}, 16)"),
        claimed(f"({10**15}, {10**15})"),
        claimed("(-1, 16)"),
        claimed("(4, 16)", "|O"),
    ),
    *(
        claimed("(4, 16)", "<f16"),
        claimed("(4, 16)", "<U99999999"),
        claimed("(4, 16)", version=9),
        claimed("(2**9,)"),
    ),
    *(
        claimed("()"),
        claimed("(0, 16)"),
        claimed("(4, 4)", "<c8"),
        claimed("[4, 16]"),
        claimed("(" * 200 + ")" * 200),
    ),
    *(b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"\x80\x04\x95"),
)


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00")
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )


PICTURES = (
    png(2**31 - 1, 2**31 - 1),
    png(60_000, 60_000),
    png(0, 0),
    png(32, 32),
    png(32, 32)[:40],
    b"\x89PNG",
    b"",
)


@pytest.mark.parametrize("number", numbers(1, 6))
@pytest.mark.parametrize("what", ["latents", "mask", "png mask", "average latent"])
def test_a_file_that_claims_any_size_is_refused_before_memory_is_asked_for(
    folder: Path, what: str, number: int, note: Callable[[str], None]
) -> None:
    chance = drawn("arrays", what, number)
    (folder / "dgan.toml").write_text('[generator]\ncheckpoint = "in/checkpoint.pt"\n')
    known = np.load(folder / "in/latents.npy" if what != "mask" else folder / "in/masks/image_mask1.npy")
    np.save(folder / "known.npy", known)
    place = {
        "latents": folder / "in/latents.npy",
        "mask": folder / "in/masks/image_mask1.npy",
        "png mask": folder / "in/masks/image_mask1.png",
        "average latent": folder / "average.npy",
    }[what]
    words = [*WORDS, "--average-latent", "average.npy"] if what == "average latent" else WORDS
    if what == "png mask":
        (folder / "in/masks/image_mask1.npy").unlink()
    contents = PICTURES if what == "png mask" else ARRAYS
    mutants = [mutated_bytes((folder / "known.npy").read_bytes(), chance) for _ in range(2)]
    for content in [*chance.sample(contents, 4), *mutants]:
        place.write_bytes(content)
        note(tried(folder, place, *words))
