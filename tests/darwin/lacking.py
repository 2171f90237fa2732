"""What Python lacks on macOS, from typeshed: the type checker's description of Python's modules."""

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import mypy

#: typeshed's name of a module, and the modules that have its names in a running Python.
MODULES: Final = {
    "os/__init__": ("os", "posix"),
    "signal": ("signal", "_signal"),
    "_socket": ("socket", "_socket"),
    "select": ("select",),
    "resource": ("resource",),
    "fcntl": ("fcntl",),
    "errno": ("errno",),
    "mmap": ("mmap",),
    "time": ("time",),
}


def lacking() -> Iterator[tuple[str, str]]:
    """Each module with a name that Python has on Linux and not on macOS."""
    for stub, modules in MODULES.items():
        tree = ast.parse(Path(mypy.__file__).with_name("typeshed").joinpath("stdlib", f"{stub}.pyi").read_text())
        for name in sorted({*_names(tree.body, "linux")} - {*_names(tree.body, "darwin")}):
            yield from ((module, name) for module in modules)


def _names(body: Iterable[ast.stmt], platform: str) -> Iterator[str]:
    """The names that a stub gives a platform."""
    for statement in body:
        match statement:
            case ast.If(test=test, body=then, orelse=otherwise):
                holds = _holds(test, platform)
                yield from _names(then if holds is not False else (), platform)
                yield from _names(otherwise if holds is not True else (), platform)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name


def _holds(test: ast.expr, platform: str) -> bool | None:
    """Whether a condition holds on a platform, for this version of Python; None if it is about something else."""
    match test:
        case ast.BoolOp(op=op, values=values):
            decisive = isinstance(op, ast.Or)
            found = [_holds(value, platform) for value in values]
            return decisive if decisive in found else None if None in found else not decisive
        case ast.Compare(left=ast.Attribute(attr="platform"), ops=[op], comparators=[ast.Constant(value=name)]):
            return (name == platform) is isinstance(op, ast.Eq)
        case ast.Compare(left=ast.Attribute(attr="version_info")):
            return bool(eval(ast.unparse(test), {"sys": sys}))
    return None


def variables(directory: Path) -> dict[str, str]:
    """The environment in which a Python is like one on macOS. Makes a file in a directory."""
    names = directory / "lacking"
    names.write_text("".join(f"{module} {name}\n" for module, name in lacking()))
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"AS_ON_MACOS": str(names), "PYTHONPATH": os.pathsep.join(filter(None, path))}
