"""The architecture: which module may use what, and how large and how well named things are.

import-linter checks which package may import which; pyproject.toml has the layers, from the top down.
"""

import ast
import graphlib
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import arkcli

ROOT = Path(arkcli.__file__).parent

#: Modules that are imported in one place only, so that they can be replaced or delayed there.
ONLY_IN = [
    ("rich", "output"),
    ("pycurl", "wire"),
    ("psycopg", "database"),
    ("cryptography", "store"),
    ("certifi", "wire"),
    ("httptools", "httpd"),
    ("httpx", "receiver"),
    ("asyncio", "httpd ingest receiver web"),
    ("jinja2", "web"),
    ("idna", "url"),
    ("platformdirs", "system"),
    ("tomllib", "store"),
    ("tomli_w", "store"),
    ("tomlkit", "store"),
    ("hmac", "signing"),
    ("fcntl", "system"),
    ("termios", "system"),
    ("subprocess", "system"),
    ("typer", "cli"),
    ("time", "system"),
    ("random", "system"),
    ("secrets", "system"),
    ("uuid", "system"),
]

#: Access to the clock, randomness, standard streams, environment variables and signals: allowed in one place only.
DOORS = re.compile(
    r"(sys\.(stdin|stdout|stderr|__std\w+__)|os\.(environb?|getenvb?|putenv|urandom|getrandom)"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)|signal\.signal)\b"
)

DOORKEEPERS = (
    *("arkcli.__main__", "arkcli.api", "arkcli.cli.session", "arkcli.system.clock", "arkcli.system.process"),
)

#: Names of functions and methods that change files.
CHANGES = frozenset(
    (
        *("write_bytes", "write_text", "touch", "mkdir", "rmdir", "rename", "unlink", "chmod", "symlink_to"),
        *("hardlink_to", "truncate", "ftruncate", "fsync", "fdatasync", "pwrite", "pwritev", "rmtree"),
        *("chown", "fchown", "lchown", "fchmod", "mkstemp", "mkdtemp"),
    )
)


#: What import-linter holds: the layers, and who may know an engine.
CONTRACTS = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("arkcli", *parts)).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
#: A folder of queue/ is an engine.
ENGINES = tuple(name_of(path) for path in sorted(ROOT.glob("queue/*/__init__.py")))
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def part_of(module: str) -> str:
    """The module or package of arkcli that a module belongs to; empty for arkcli itself."""
    return module.split(".")[1] if "." in module else ""


def offenders(of: Callable[[str], set[str]]) -> dict[str, set[str]]:
    """The modules that break a rule, and what breaks it."""
    return {module: found for module in MODULES if (found := of(module))}


@cache
def nodes_of(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(TREES[module]))


@cache
def imports_of(module: str) -> frozenset[str]:
    """Every module that a module imports, at any place in it."""
    return frozenset(_imports_of(module))


def _imports_of(module: str) -> Iterator[str]:
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; the table of floors knows absolute names"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def chains_of(module: str) -> Iterator[str]:
    """Every dotted name in a module, as long as possible, with import aliases resolved."""
    renamed = {
        alias.asname or alias.name: f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in nodes_of(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    inner: set[ast.expr] = set()
    for node in nodes_of(module):
        if not isinstance(node, ast.Attribute | ast.Name) or node in inner:
            continue
        dotted: list[str] = []
        found: ast.expr = node
        while isinstance(found, ast.Attribute):
            dotted.insert(0, found.attr)
            found = found.value
            inner.add(found)
        first = renamed.get(found.id, found.id) if isinstance(found, ast.Name) else ""
        yield ".".join((first, *dotted))


def test_nothing_above_the_seam_knows_where_an_engine_keeps_a_delivery() -> None:
    tickets = {"position", "instead", "after", "segments", "journal"}

    def known(module: str) -> set[str]:
        if module.startswith(ENGINES):
            return set()
        attributes = {node.attr for node in nodes_of(module) if isinstance(node, ast.Attribute)}
        return attributes & tickets

    assert offenders(known) == {}


def test_the_document_draws_the_same_layers() -> None:
    page = (ROOT.parent / "docs" / "internals.md").read_text("utf-8")
    drawn = re.findall(
        r"^\| (`.*`) \| [^|]+ \|$", page.partition("## 12. The house")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert [row.replace("`", "").replace("/", "").split(", ") for row in drawn] == [
        row.split(" | ") for row in CONTRACTS[0]["layers"]
    ]


def test_every_engine_is_kept_from_all_but_the_module_that_picks_one() -> None:
    assert CONTRACTS[1]["protected_modules"] == list(ENGINES)


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: {found for found in imports_of(module) if found in MODULES} for module in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(("library", "owners"), ONLY_IN)
def test_a_library_is_imported_in_one_place_only(library: str, owners: str) -> None:
    places = {part_of(module) for module in MODULES if library in {found.split(".")[0] for found in imports_of(module)}}
    assert places <= set(owners.split())


def test_clock_randomness_streams_variables_and_signals_enter_at_their_doors_alone() -> None:
    def doors(module: str) -> set[str]:
        if module in (
            "arkcli.cli.session",
            "arkcli.api",
            "arkcli.system.clock",
            "arkcli.system.process",
            "arkcli.__main__",
        ):
            return set()
        return {chain for chain in chains_of(module) if DOORS.match(chain)}

    assert offenders(doors) == {}


def test_files_are_changed_by_the_module_files_alone() -> None:
    def changes(module: str) -> set[str]:
        if module == "arkcli.system.files":
            return set()
        called = {chain for chain in chains_of(module) if chain.split(".")[-1] in CHANGES or chain == "os.replace"}
        by_files = {chain for chain in called if chain.startswith("arkcli.system.files.")}
        return called - by_files | {mode for mode in open_modes(module) if set(mode) & set("wax+")}

    assert offenders(changes) == {}


def open_modes(module: str) -> Iterator[str]:
    for node in nodes_of(module):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            if called == "open":
                yield from (
                    word.value
                    for word in words
                    if isinstance(word, ast.Constant) and isinstance(word.value, str) and len(word.value) <= 3
                )


def test_no_module_is_above_400_lines() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 400} == {}


def test_everything_public_has_a_docstring() -> None:
    def silent(module: str) -> set[str]:
        return {name for name, node in public_of(module) if not ast.get_docstring(node)}

    assert offenders(silent) == {}


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_of(module: str) -> Iterator[tuple[str, Documented]]:
    """A module, its public classes and functions, and those classes' public methods."""
    yield module, TREES[module]
    for node in TREES[module].body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def test_every_directory_of_modules_is_a_package() -> None:
    assert {path.parent for path in MODULES.values() if not (path.parent / "__init__.py").is_file()} == set()


def test_nothing_has_a_name_that_says_nothing() -> None:
    empty = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "service", "repository"}

    def words(module: str) -> set[str]:
        classes = [node.name for node in nodes_of(module) if isinstance(node, ast.ClassDef)]
        found = [word for name in (module, *classes) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
        return {word for word in found if word.lower() in empty}

    assert offenders(words) == {}


def test_no_fields_type_has_the_name_of_a_member_which_it_would_mean_since_python_3_14() -> None:
    def shadowed(module: str) -> set[str]:
        return {
            f"{found.name}.{ast.unparse(line.target)}"
            for found in nodes_of(module)
            if isinstance(found, ast.ClassDef)
            for line in found.body
            if isinstance(line, ast.AnnAssign) and set(_names_in(line.annotation)) & set(_members_of(found))
        }

    assert offenders(shadowed) == {}


def _members_of(found: ast.ClassDef) -> Iterator[str]:
    for line in found.body:
        if isinstance(line, ast.AnnAssign):
            yield ast.unparse(line.target)
        elif isinstance(line, ast.FunctionDef):
            yield line.name


def _names_in(annotation: ast.expr) -> Iterator[str]:
    yield from (node.id for node in ast.walk(annotation) if isinstance(node, ast.Name))
