"""Reads the settings of a run from a TOML file, checks them key by key, and lays command-line flags over
them.

It does not know what the settings do. It opens only the configuration: a path that it returns may not exist.
It imports nothing heavy, because every command loads it, also for ``--help``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, short
from pipeline.settings.absolute_paths import paths_of
from pipeline.settings.classes import class_tables, parse_class
from pipeline.settings.file_names import check_ordinary
from pipeline.settings.schema import SECTIONS, ClassConfig, Config, declaration, flags_of
from pipeline.settings.text_files import read_text, refuse_unknown
from pipeline.settings.values import Keep, Split, is_url

DEFAULT_FILE = "dgan.toml"
_ONLY_WHERE_SET = (
    "segment",
    "segment_test",
    "translate",
)  # most projects end before these
DEMO_SOURCE = "embedded demo configuration"


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read ``path``, else ``./dgan.toml``, else the embedded demo configuration.

    Relative paths in a file resolve against its folder, those of the embedded one against the current folder.
    A file ``*.json`` is a released experiment; `pipeline.settings.released_experiments` says how it is read.
    Raises UsageError, one line, naming file and key, for what cannot be read, is unknown or out of range.
    """
    if path is None and not os.path.lexists(DEFAULT_FILE):
        return load_demo_config()
    location = Path(DEFAULT_FILE if path is None else path)
    check_ordinary(location)
    text = read_text(location, "a configuration, in TOML or a .json experiment, by --config FILE")
    if location.suffix.lower() == ".json":
        from pipeline.settings.released_experiments import parse_experiment

        config = parse_experiment(text, location)
        _check_together(config, config.source)
        return config
    return _parse_toml(text, str(location), folder=location.parent)


def load_demo_config() -> Config:
    """The embedded demo configuration, whatever lies in the current folder."""
    return _parse_toml(demo_text(), DEMO_SOURCE, folder=None)


def demo_text() -> str:
    """The TOML text of the embedded demo configuration, from the installed package or the source checkout."""
    from importlib import resources

    try:
        return resources.files("pipeline.configs").joinpath("demo.toml").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        checkout = Path(__file__).resolve().parents[2] / "configs" / "demo.toml"
    try:
        return checkout.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{checkout}: the {DEMO_SOURCE} is missing; reinstall, or give --config FILE"
        ) from error


def with_overrides(config: Config, section: str, **flags: Any) -> Config:
    """``config`` with the ``flags`` that are not None laid over one section, checked like a file's keys.

    Paths in flags resolve against the current folder. Raises UsageError naming the flag.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    items = {item.name: item for item in fields(SECTIONS[section])}
    values = {name: _checked(_flag(items[name]), value, items[name], None) for name, value in given.items()}
    overridden = replace(getattr(config, section), **values)
    merged = replace(config, **{section: overridden})
    _check_together(merged, f"{config.source} with the flags given")
    return merged


def configured(config: Config, flags: Mapping[str, Any]) -> Config:
    """``config`` with the flags of settings, named ``section__key``, laid over it; other names do not count.

    Raises UsageError naming the flag, or a path that is neither a file nor a folder.
    """
    for section in SECTIONS:
        prefix = f"{section}__"
        given = {name.removeprefix(prefix): flags[name] for name in flags if name.startswith(prefix)}
        config = with_overrides(config, section, **given)
    for path in paths_of(config):
        check_ordinary(path)
    return config


def to_toml(config: Config) -> str:
    """``config`` as TOML without its unset keys. `load_config` reads it back equal if paths are absolute.

    Raises UsageError for a path of bytes that are not UTF-8.
    """
    tables = [["demo = true"]] if config.demo else []
    shown = [name for name in SECTIONS if name not in _ONLY_WHERE_SET or _is_set(config, name)]
    tables += [[f"[{section}]", *_toml_keys(getattr(config, section))] for section in shown]
    tables += [["[[annotations.classes]]", *_toml_keys(entry)] for entry in config.annotations.classes]
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def _is_set(config: Config, section: str) -> bool:
    return bool(getattr(config, section) != SECTIONS[section]())


def _toml_keys(section: Any) -> list[str]:
    values = {item.name: getattr(section, item.name) for item in fields(section) if item.name != "classes"}
    return [f"{name} = {_toml_value(value)}" for name, value in values.items() if value is not None]


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Keep):
        return value.to_toml()
    if isinstance(value, (str, Path, Split)):
        if any("\ud800" <= c <= "\udfff" for c in str(value)):
            raise UsageError(f"{short(value)}: is not UTF-8, as a configuration is; rename it")
        escaped = (f"\\u{ord(c):04x}" if c in '"\\\x7f' or ord(c) < 32 else c for c in str(value))
        return f'"{"".join(escaped)}"'
    return repr(value)


def _parse_toml(text: str, source: str, folder: Path | None) -> Config:
    import tomllib

    try:
        document = tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: not valid TOML: {error}") from error
    refuse_unknown(document, [*SECTIONS, "demo"], f"{source}: unknown table or key:")
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        table = document.get(name, {})
        if name == "annotations" and isinstance(table, dict) and "classes" in table:
            table = {**table, "classes": _parse_classes(table["classes"], source)}
        sections[name] = _parse_section(kind, table, source, f"[{name}]", folder)
    demo = document.get("demo", source == DEMO_SOURCE)
    if not isinstance(demo, bool):
        raise UsageError(f"{source}: demo is {short(demo)}; expected true or false")
    config = Config(**sections, demo=demo, source=source)
    _check_together(config, source)
    return config


def _parse_section(kind: type, table: Any, source: str, header: str, folder: Path | None) -> Any:
    if not isinstance(table, dict):
        raise UsageError(f"{source}: {header} is {short(table)}; expected a table {header}")
    rules = {item.name: item for item in fields(kind)}
    refuse_unknown(table, list(rules), f"{source}: unknown key in {header}:")
    label = f"{source}: {header} "
    return kind(**{name: _checked(label + name, value, rules[name], folder) for name, value in table.items()})


def _parse_classes(tables: Any, source: str) -> tuple[ClassConfig, ...]:
    if tables == []:
        return ()
    found = class_tables(tables, source, "[[annotations.classes]]")
    return tuple(parse_class(table, where) for where, table in found)


def _checked(label: str, value: Any, item: Field[Any], folder: Path | None) -> Any:
    rule = declaration(item).rule
    parsed = rule.check(label, value)
    if rule.is_path and folder is not None and not is_url(str(parsed)):
        return type(parsed)(folder / parsed)
    return parsed


def _flag(item: Field[Any]) -> str:
    return flags_of(item).partition("/")[0]


def _check_together(config: Config, source: str) -> None:
    features, annotations = config.features, config.annotations
    if features.crop_rows and features.resolution and features.crop_rows[1] > features.resolution:
        raise UsageError(
            f"{source}: [features] crop_rows ends at {features.crop_rows[1]}; "
            f"expected at most the resolution, {features.resolution}"
        )
    if annotations.classes and annotations.num_classes not in (None, len(annotations.classes)):
        raise UsageError(
            f"{source}: [annotations] num_classes is {annotations.num_classes}; "
            f"expected {len(annotations.classes)}, the number of [[annotations.classes]] tables"
        )
