"""Where the files of a user are: what the session says counts only if it is an absolute path."""

import io
import os
from pathlib import Path

import pytest

from arkcli.cli.app import run
from arkcli.cli.session import Session
from arkcli.errors import Unreadable
from arkcli.system import paths
from tests.as_user import USER, as_user, in_child, needs_root


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ARK_CONFIG_DIR": "config", "HOME": "/home/ada"}, "ARK_CONFIG_DIR is 'config'"),
        ({"ARK_CONFIG_DIR": "~/config", "HOME": "/home/ada"}, "ARK_CONFIG_DIR is '~/config'"),
        ({"XDG_CONFIG_HOME": "./x y", "HOME": "/home/ada"}, "XDG_CONFIG_HOME is './x y'"),
        ({"HOME": "home"}, "HOME is 'home'"),
        ({"ARK_CONFIG_DIR": "", "XDG_CONFIG_HOME": "", "HOME": "."}, "HOME is '.'"),
    ],
)
def test_a_path_that_is_not_absolute_is_refused_with_its_variable(variables: dict[str, str], said: str) -> None:
    with pytest.raises(Unreadable) as refused:
        paths.config_directory(variables)
    assert str(refused.value) == f"{said}, which is not an absolute path; set ARK_CONFIG_DIR to one"


def test_what_is_not_asked_for_may_be_anything() -> None:
    assert paths.state_directory({"ARK_STATE_DIR": "/s", "ARK_CONFIG_DIR": "c", "HOME": "h"}) == Path("/s")


def ark(*args: str, **variables: str) -> tuple[int, str]:
    """One run where nothing but these variables is set: its exit status, and all that it said."""
    os.environ.clear()
    os.environ.update(variables)
    out, err = io.StringIO(), io.StringIO()
    status = run(args, Session(os.environ, io.BytesIO(b"x"), out, err))
    return status, out.getvalue() + err.getvalue()


@pytest.mark.parametrize(
    ("variables", "config", "state"),
    [
        ({"HOME": "/h"}, "/h/.config/ark", "/h/.local/state/ark"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/ark", "/s/ark"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "ARK_CONFIG_DIR": ""}, "/c/ark", "/h/.local/state/ark"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "c", "ARK_CONFIG_DIR": "/a", "ARK_STATE_DIR": "/b"}, "/a", "/b"),
    ],
)
def test_the_platforms_directories(variables: dict[str, str], config: str, state: str) -> None:
    status, said = in_child(lambda: ark("config", "path", **variables))
    assert status == 0
    assert f"config_dir\t{config}\n" in said
    assert f"state_dir\t{state}\n" in said


@needs_root
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("config path", 78),
        ("queue", 78),
        ("dest list", 78),
        ("doctor", 78),
        ("secret rotate", 78),
        ("verify --signature aa", 78),
        ("verify --explain --secret k --signature aa", 1),
        ("sign --secret k", 0),
        ("--version", 0),
        ("drain --help", 0),
        ("completion bash", 0),
    ],
)
def test_a_user_without_a_home_is_told_what_to_set_where_one_is_needed(command: str, status: int) -> None:
    done = as_user(USER, lambda: ark(*command.split()))
    assert done[0] == status, done
    assert ("no home directory; set ARK_CONFIG_DIR and ARK_STATE_DIR" in done[1]) == (status == 78)
