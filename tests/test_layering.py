"""Which module may import which: the folders' table and the order inside ``fstore``, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("fstore", "pipeline")
HEAVY = ("torch", "zarr", "dask", "numpy", "numcodecs", "safetensors", "PIL", "rich")

# A module of fstore imports only modules of a lower rank. Those of one rank do not import each other.
FSTORE_RANKS = {
    "_version": 0,
    "errors": 0,
    "values": 1,
    "urls": 1,
    "lock": 1,
    "compare": 2,
    "meta": 2,
    "location": 2,
    "durable": 3,
    "format": 3,
    "display": 4,
    "interpolate": 4,
    "local_shards": 4,
    "inventory": 4,
    "plan": 4,
    "views": 4,
    "bands": 5,
    "cache": 5,
    "chunks": 5,
    "creation": 5,
    "pyramid": 6,
    "shards": 6,
    "store": 6,
    "dataset": 7,
    "dataset_writer": 7,
    "feature_store": 7,
    "sampler": 7,
    "writer": 7,
    "filter": 8,
    "opening": 8,
    "verify": 9,
    "__init__": 10,  # inside functions only: `import fstore` loads none of them
}
FSTORE_LIBRARIES = {"numpy", "zarr", "numcodecs", "dask", "torch", "google_crc32c", "fsspec"}
MODEL_LIBRARIES = {"numpy", "torch"}
STAGE_CALLERS = {
    *("pipeline.commands.stages", "pipeline.commands.sample", "pipeline.commands.look"),
    *("pipeline.demo.run", "pipeline.demo.run_keypoints"),
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


@pytest.mark.parametrize("module", of("fstore"))
def test_the_store_imports_arrays_and_nothing_of_the_pipeline(module: str) -> None:
    assert not [name for name in imports(module) if within(name, "pipeline")]
    assert outside_libraries(module) <= FSTORE_LIBRARIES


@pytest.mark.parametrize("module", of("fstore"))
def test_inside_the_store_imports_point_one_way(module: str) -> None:
    own = module.removeprefix("fstore.") if module != "fstore" else "__init__"
    assert own in FSTORE_RANKS, f"{module} is new: give it a rank here"
    used = {
        name.removeprefix("fstore.")
        for name in imports(module)
        if within(name, "fstore") and name != "fstore"
    }
    assert not [name for name in used if FSTORE_RANKS[name] >= FSTORE_RANKS[own]]
    assert "fstore" not in imports(module), f"{module} imports the package that imports it"


def test_the_format_is_pure() -> None:
    assert outside_libraries("fstore.format") <= {"numpy"}
    assert outside_libraries("fstore.plan") <= {"numpy"}


@pytest.mark.parametrize("module", of("pipeline.models"))
def test_networks_import_only_numbers_and_each_other(module: str) -> None:
    assert outside_libraries(module) <= MODEL_LIBRARIES
    assert not [
        n for n in imports(module) if n.split(".")[0] in PACKAGES and not within(n, "pipeline.models")
    ]


@pytest.mark.parametrize("module", of("pipeline.stages"))
def test_stages_do_not_import_each_other(module: str) -> None:
    assert not [name for name in imports(module) if within(name, "pipeline.stages")]


@pytest.mark.parametrize("module", [m for m in of("pipeline") if m not in {*STAGE_CALLERS, "pipeline.cli"}])
def test_only_the_command_line_and_the_demo_call_stages(module: str) -> None:
    assert not [name for name in imports(module) if within(name, "pipeline.stages") or name == "pipeline.cli"]


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    def reaches(start: str, seen: frozenset[str]) -> None:
        for name in imports(start) & modules().keys():
            assert name not in seen, f"{start} imports {name}, which leads back to it"
            reaches(name, seen | {name})

    for module in modules():
        reaches(module, frozenset({module}))


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


def test_the_walk_sees_an_import_inside_a_function_and_none_for_type_checking() -> None:
    guarded = "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
    tree = ast.parse(guarded + "def f():\n    from fstore import format as fmt\n")
    assert {name for node in executed(tree) for name in imported(node, "x")} == {"numpy", "fstore.format"}
