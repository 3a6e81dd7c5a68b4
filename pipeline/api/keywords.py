"""The keywords of the Python functions, made from the declarations of settings and options, as the flags are.

It checks the values that a function was called with and makes of them what `pipeline.api.runs` takes. It
makes the signature and the documentation too, so that a new setting needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import Parameter
from typing import Any

from pipeline.errors import UsageError, short
from pipeline.settings.options import AFTER_SETTINGS, BEFORE_SETTINGS, Option
from pipeline.settings.schema import SECTIONS, declaration, flag_settings, flags_of, keyword_of
from pipeline.settings.text_files import refuse_unknown
from pipeline.settings.values import Rule


@dataclass(frozen=True)
class Keyword:
    """One keyword: ``target`` is what the run calls it, and ``label`` what a message calls it: the flag.

    ``default`` is shown. A run is given ``absent`` where a caller gives nothing, or None: for a setting None,
    because the configuration's file may have a value of its own.
    """

    name: str
    target: str
    label: str
    rule: Rule
    help: str
    default: Any
    absent: Any
    unset: str
    is_argument: bool = False
    is_required: bool = False

    def check(self, value: Any) -> Any:
        """The value as its rule keeps it. Raises UsageError, the line that the flag's value gets."""
        if value is None:
            return self.absent
        if self.rule.is_path:
            value = _place_of(value)
        num_axes = getattr(value, "ndim", None)
        if num_axes == 0 and hasattr(value, "item"):  # a number of NumPy's or of torch's
            value = value.item()
        elif isinstance(num_axes, int):
            save = "; save it with numpy.save, and name the file" if self.rule.is_path else ""
            raise UsageError(
                f"{self.label} is an array {tuple(value.shape)}; expected {self.rule.expected}{save}"
            )
        return self.rule.check_either(self.label, value)

    def parameter(self) -> Parameter:
        """As ``inspect.signature`` has it."""
        kind = Parameter.POSITIONAL_OR_KEYWORD if self.is_argument else Parameter.KEYWORD_ONLY
        required = self.is_argument or self.is_required
        return Parameter(self.name, kind, default=Parameter.empty if required else plain(self.default))

    def line(self) -> str:
        """As the documentation has it."""
        shown = self.unset if self.default is None else repr(plain(self.default))
        known = bool(shown) and not self.is_argument and not self.is_required
        return f"{self.name}: {self.help}" + (f" [default: {shown}]" if known else "")


def _place_of(value: Any) -> Any:
    """Where an opened store or a trained interpreter lies, so that a function takes what another returned.

    Any other value stays as it is.
    """
    place = getattr(getattr(value, "location", None), "target", None)
    return place or getattr(value, "folder", None) or value


def plain(default: Any) -> Any:
    """A default as people write it in Python: a path as its text, a fraction as its digits."""
    return default if isinstance(default, (bool, int, float, str, tuple, type(None))) else str(default)


def keywords(command: str) -> dict[str, Keyword]:
    """All keywords of a command's function by their names, in the order of ``--help``."""
    before = map(_of_option, BEFORE_SETTINGS.get(command, ()))
    after = map(_of_option, AFTER_SETTINGS.get(command, ()))
    return {each.name: each for each in (*before, *_of_settings(command), *after)}


def command_flags(command: str) -> set[str]:
    """The flags of a command that has a function; of a boolean that of ``--yes``."""
    return {each.label for each in keywords(command).values()}


def _of_option(option: Option) -> Keyword:
    return Keyword(
        option.name,
        option.name,
        option.flag,
        option.rule,
        option.help,
        option.default,
        option.default,
        option.unset,
        option.is_argument,
        option.is_required,
    )


def _of_settings(command: str) -> list[Keyword]:
    found = []
    for section, item in flag_settings(command):
        declared, name = declaration(item), keyword_of(item)
        flag = flags_of(item).partition("/")[0]
        target = f"{section}__{item.name}"
        found.append(
            Keyword(name, target, flag, declared.rule, declared.help, item.default, None, declared.unset)
        )
    return found


def by_name(command: str, function: str, places: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """All values of a call by their keywords, also those that were given by their place.

    Raises UsageError for a value without a keyword where one is needed, and for one that is given twice.
    """
    names = [each.name for each in keywords(command).values() if each.is_argument]
    if len(places) > len(names):
        surplus = places[len(names)]
        takes = f"only {' and '.join(names)} may stand" if names else "no value may stand"
        raise UsageError(f"{function}: {short(surplus)} has no keyword; {takes} without one")
    by_place = dict(zip(names, places, strict=False))
    for name in by_place:
        if name in named:
            raise UsageError(f"{function}: {name} is given twice; pass it once")
    return {**by_place, **named}


def checked(command: str, function: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the run takes, of the values that ``function`` was given by its keywords.

    Raises UsageError, one line, for a keyword that is unknown or missing, or a value that its rule refuses.
    """
    known = keywords(command)
    for name in given:
        if name not in known:
            _refuse_key_of_a_file(name, function)
    refuse_unknown(given, list(known), f"{function}: unknown keyword")
    for each in known.values():
        if (each.is_argument or each.is_required) and given.get(each.name) is None:
            raise UsageError(f"{function}: {each.name} is missing; expected {each.rule.expected}")
    return {each.target: each.check(given.get(each.name)) for each in known.values()}


def _refuse_key_of_a_file(name: str, function: str) -> None:
    """A setting that no command has as a flag is known all the same: it says where it is set."""
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            if item.name == name and declaration(item).in_file:
                raise UsageError(
                    f"{function}: {name} is no keyword; it is set in a TOML file, as [{section}] {name}: "
                    "pass config="
                )
