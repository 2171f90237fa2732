"""What the packages contain, and what the examples in contrib/ promise."""

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SHARED: dict[str, str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
CONTAINERFILE = (ROOT / "contrib" / "container" / "Containerfile").read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("share/man/man1/ark.1", "docs/man/ark.1"),
        ("share/bash-completion/completions/ark", "completions/ark.bash"),
        ("share/zsh/site-functions/_ark", "completions/_ark"),
        ("share/fish/vendor_completions.d/ark.fish", "completions/ark.fish"),
        ("lib/systemd/user", "contrib/systemd/user"),
    ],
)
def test_the_wheel_brings_what_is_looked_for_there(path: str, source: str) -> None:
    assert SHARED[source] == path


def test_all_that_the_wheel_shares_exists_and_all_of_contrib_is_shared() -> None:
    assert [source for source in SHARED if not (ROOT / source).exists()] == []
    files = {path.relative_to(ROOT) for path in (ROOT / "contrib").rglob("*") if path.is_file()}
    assert {path for path in files if not {str(path), *map(str, path.parents)} & SHARED.keys()} == set()


def substituted(page: str) -> str:
    """A page as a package index gets it."""
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(rule["pattern"], rule["replacement"], page)
    return page


def test_a_package_index_gets_no_link_that_leads_nowhere() -> None:
    page = substituted((ROOT / "README.md").read_text("utf-8"))
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("https://")] == []
    assert "docs/operating.md has cron and systemd" in page
    assert "**Contents:**" not in page
    assert "## Start" in page


def test_every_link_of_the_readme_leads_to_a_file_that_the_packages_have() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_python_that_is_named_is_allowed_and_the_lowest_is_the_required_one() -> None:
    named = [row.rpartition(" ")[2] for row in PROJECT["project"]["classifiers"] if " :: 3." in row]
    assert named == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


def test_every_dependency_has_a_lowest_version_and_a_comment_that_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for dependency in PROJECT["project"]["dependencies"]:
        assert ">=" in dependency
        assert re.search(rf'    # .*\n    "{re.escape(dependency)}",\n', text), dependency


def test_the_container_runs_as_nobody_special_with_all_its_files_in_one_volume() -> None:
    told = dict(re.findall(r"^(USER|VOLUME|ENTRYPOINT|CMD|STOPSIGNAL) (.+)$", CONTAINERFILE, re.MULTILINE))
    variables = dict(re.findall(r"^ENV (\w+)=(.+)$", CONTAINERFILE, re.MULTILINE))
    assert told == {
        "USER": "10001:0",
        "VOLUME": "/data",
        "STOPSIGNAL": "SIGTERM",
        "ENTRYPOINT": '["ark"]',
        "CMD": '["drain", "--watch"]',
    }
    for name in ("ARK_CONFIG_DIR", "ARK_STATE_DIR"):
        assert variables[name].startswith("/data/")


@pytest.mark.parametrize("path", ["contrib/container/compose.yaml", "contrib/kubernetes/ark.yaml"])
def test_the_examples_mount_the_volume_of_the_image_and_run_without_privileges(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert re.search(r"data:/data|mountPath: /data$", text, re.MULTILINE)
    assert re.search(r"read_only: true|readOnlyRootFilesystem: true", text)
    assert re.search(r"cap_drop: \[ALL\]|drop: \[ALL\]", text)


def test_kubernetes_runs_one_ark_at_a_time_on_the_queue() -> None:
    text = (ROOT / "contrib" / "kubernetes" / "ark.yaml").read_text("utf-8")
    assert "replicas: 1\n" in text
    assert "type: Recreate\n" in text
    # Otherwise a restart would make destinations.toml readable by a group, and ark would refuse it.
    assert "fsGroupChangePolicy: OnRootMismatch\n" in text


def test_no_page_invents_an_address() -> None:
    pages = [ROOT / "SECURITY.md", *(ROOT / ".github" / "ISSUE_TEMPLATE").rglob("*.yml"), ROOT / "pyproject.toml"]
    found = [address for page in pages for address in re.findall(r"[\w.]+@[\w-]+\.[a-z]+", page.read_text("utf-8"))]
    assert found == []
    assert "urls" not in PROJECT["project"]


@pytest.mark.parametrize("name", ["run", "smoke", "packages", "lowest", "container", "browser"])
def test_each_script_of_the_gate_can_be_run_and_contributing_names_it(name: str) -> None:
    path = ROOT / ".ci" / name
    assert path.stat().st_mode & stat.S_IXUSR
    pages = (ROOT / "CONTRIBUTING.md").read_text("utf-8") + (ROOT / ".ci" / "smoke").read_text("utf-8")
    assert f".ci/{name}" in pages
