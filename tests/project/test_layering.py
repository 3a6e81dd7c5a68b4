"""Which module may import which: the folders' table and the order inside ``fstore``, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.places import REPOSITORY

PACKAGES = ("fstore", "pipeline")
HEAVY = ("torch", "zarr", "dask", "numpy", "numcodecs", "safetensors", "PIL", "rich")

# The rooms of pipeline/, lowest first. A module imports only from its own room and from lower ones.
ROOMS = (
    "errors",
    "settings",
    "machine",
    "cluster",
    "models",
    "checkpoints",
    "embedded",
    "rendering",
    "labelling",
    "quality",
    "inputs",
    "interpreter",
    "stages",
    "exports",
    "evaluation",
    "calibration",
    "reports",
    "viewer",
    "resumable",
    "segment",
    "translate",
    "api",
    "demo",
    "commands",
    "cli",
    "__main__",
)
# The floors of fstore/, lowest first. A module imports only modules of a lower floor.
FLOORS = (
    ("_version", "errors", "processes"),
    ("image_scores", "local_files", "lock", "object_errors", "urls", "values", "zstd_frames"),
    ("clouds", "requests"),
    ("counted_store",),
    ("objects",),
    ("compare", "filter_rule", "location", "meta"),
    ("durable", "format", "object_lock"),
    ("writer_lock",),
    ("allowed_values", "display", "interpolate", "inventory", "local_shards", "plan", "views"),
    ("stored_files",),
    ("markers",),
    ("bands", "cache", "chunks", "creation", "recover", "stream_plan"),
    ("encoded_array", "map_file", "pyramid", "revision", "shards", "store"),
    ("correction",),
    ("dataset", "dataset_writer", "feature_store", "labelled_items", "sampler", "writer"),
    ("class_areas", "filter", "joining", "opening"),
    ("torch_data", "verify_filter"),
    ("verify",),
    ("repair",),
    ("__init__",),  # inside functions only: `import fstore` loads none of them
)
# The floors of pipeline/inputs/annotations/, lowest first; a folder's modules may import one another.
ANNOTATION_FLOORS = (
    ("json_file", "source"),
    ("raster",),
    ("classes", "formats"),
    ("keypoints", "load"),
    ("label_reader",),
)
LIBRARIES = {
    "fstore": {
        "numpy",
        "zarr",
        "numcodecs",
        "dask",
        "torch",
        "google_crc32c",
        "fsspec",
        "obstore",
        "boto3",
        "botocore",
    },
    "fstore.format": {"numpy"},  # pure
    "fstore.filter_rule": {"numpy"},  # pure
    "fstore.image_scores": {"numpy"},  # pure
    "fstore.plan": {"numpy"},
    "fstore.stream_plan": {"numpy"},  # pure
    "fstore.labelled_items": {"numpy"},  # no torch: the tensors are made above it
    "pipeline.models": {"numpy", "torch"},
}


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the two packages; a package has the name of its folder."""
    found = {}
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names of what a module imports, inside functions too, but not for type checking only."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return frozenset(name for node in executed(tree) for name in imported(node, module))


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a tree without the bodies of ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield from executed(statement)
        else:
            yield from executed(child)


def imported(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}: a relative import; this project names packages in full"
        for alias in node.names:  # `from package import module` imports the module
            name = f"{node.module}.{alias.name}"
            yield name if name in modules() else str(node.module)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def of(package: str) -> list[str]:
    return [module for module in modules() if within(module, package)]


def outside_libraries(module: str) -> set[str]:
    """Top-level names of what a module imports that is neither the standard library's nor this project's."""
    tops = {name.split(".")[0] for name in imports(module)}
    return tops - sys.stdlib_module_names - set(PACKAGES)


def room_of(module: str) -> int:
    """Place in ROOMS of a module of pipeline."""
    room = module.split(".")[1]
    assert room in ROOMS, f"{module} is in no room: move it into one, or give its room a place in ROOMS"
    return ROOMS.index(room)


def floor_of(module: str) -> int:
    """Place in FLOORS of a module of fstore."""
    name = module.removeprefix("fstore.") if module != "fstore" else "__init__"
    floors = [floor for floor, names in enumerate(FLOORS) if name in names]
    assert floors, f"{module} is on no floor: give it a place in FLOORS"
    return floors[0]


PIPELINE = [module for module in of("pipeline") if module != "pipeline"]


@pytest.mark.parametrize("module", PIPELINE)
def test_a_room_imports_only_what_stands_below_it(module: str) -> None:
    used = [name for name in imports(module) if within(name, "pipeline") and name != "pipeline"]
    assert [name for name in used if room_of(name) > room_of(module)] == []


@pytest.mark.parametrize("module", of("fstore"))
def test_the_store_imports_nothing_of_the_pipeline_and_points_one_way(module: str) -> None:
    used = [name for name in imports(module) if name.split(".")[0] in PACKAGES]
    assert [name for name in used if name == "fstore" or not within(name, "fstore")] == []
    assert [name for name in used if floor_of(name) >= floor_of(module)] == []


ANNOTATIONS = "pipeline.inputs.annotations"


@pytest.mark.parametrize("module", [m for m in of(ANNOTATIONS) if m != ANNOTATIONS])
def test_the_annotations_folders_point_one_way(module: str) -> None:
    def place(name: str) -> tuple[int, str]:
        part = name.removeprefix(f"{ANNOTATIONS}.").split(".")[0]
        return next(floor for floor, parts in enumerate(ANNOTATION_FLOORS) if part in parts), part

    floor, own = place(module)
    used = [place(name) for name in imports(module) if within(name, ANNOTATIONS)]
    assert [part for other, part in used if other >= floor and part != own] == []


@pytest.mark.parametrize("room", LIBRARIES)
def test_a_room_uses_only_the_libraries_that_it_may(room: str) -> None:
    assert set().union(*map(outside_libraries, of(room))) <= LIBRARIES[room]


@pytest.mark.parametrize("module", of("pipeline.models"))
def test_networks_know_no_store(module: str) -> None:
    assert [name for name in imports(module) if within(name, "fstore")] == []


@pytest.mark.parametrize("module", of("pipeline.stages"))
def test_stages_do_not_import_each_other(module: str) -> None:
    others = [name for name in imports(module) if within(name, "pipeline.stages")]
    shared = ("pipeline.stages.costs", ".".join(module.split(".")[:3]))
    assert [name for name in others if not within(name, shared[0]) and not within(name, shared[1])] == []


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle of imports: {' -> '.join((*path, module))}"
        if module not in done:
            for name in imports(module) & modules().keys():
                visit(name, (*path, module))
            done.add(module)

    for module in modules():
        visit(module, ())


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["extract-features", "--help"], ["demo", "--help"], ["--version"]]
)
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    code = f"from pipeline.cli import main\nmain({arguments!r}, standalone_mode=False)"
    assert not loaded_by(code) & set(HEAVY)


def test_importing_the_store_package_loads_no_heavy_library() -> None:
    assert not loaded_by("import fstore") & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    ["import pipeline", "import pipeline, inspect\nhelp(pipeline.train)\ninspect.signature(pipeline.sample)"],
)
def test_the_functions_and_their_help_load_no_heavy_library(code: str) -> None:
    assert not loaded_by(code) & {*HEAVY, "click", "IPython"}


def test_the_walk_sees_an_import_inside_a_function_and_none_for_type_checking() -> None:
    guarded = "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
    tree = ast.parse(guarded + "def f():\n    from fstore import format as fmt\n")
    assert {name for node in executed(tree) for name in imported(node, "x")} == {"numpy", "fstore.format"}
