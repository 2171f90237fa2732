"""The URL of a database: what libpq gets, and what people see."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.database.address import address_of
from arkcli.errors import UsageError


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ark@db/ark", "postgresql://ark@db/ark"),
        ("postgres://ark:hunter2@db.example:5433/ark", "postgresql://ark:***@db.example:5433/ark"),
        ("postgresql://ark:hunter2@a:1,b:2/ark?sslmode=require", "postgresql://ark:***@a:1,b:2/ark?sslmode=require"),
        ("postgresql://ark@a,b/ark?target_session_attrs=read-write",
         "postgresql://ark@a,b/ark?target_session_attrs=read-write"),
        ("postgresql://db/ark?user=ark&password=hunter2", "postgresql://ark:***@db/ark"),
        ("postgresql://db/ark?sslkey=/k&sslpassword=hunter2", "postgresql://db/ark?sslkey=/k&sslpassword=***"),
        ("postgresql:///ark?host=/run/postgresql", "postgresql:///ark?host=/run/postgresql"),
        ("postgresql://[::1]:5/ark", "postgresql://[::1]:5/ark"),
        ("postgresql://db/ark?prepare=off", "postgresql://db/ark?prepare=off"),
        ("postgresql://db/ark?sslmode=require&prepare=off", "postgresql://db/ark?sslmode=require&prepare=off"),
        ("postgresql:///ark?service=events", "postgresql:///ark?service=events"),
    ],
)  # fmt: skip
def test_the_screen_shows_the_url_without_its_password(url: str, masked: str) -> None:
    found = address_of(url, {})
    assert found.masked == masked
    # Somebody who copies it finds the same server.
    if "***" not in masked:
        assert address_of(masked, {}) == found


@pytest.mark.parametrize(
    ("url", "variables", "mode", "roots"),
    [
        ("postgresql://db/ark", {}, "verify-full", "/ca.pem"),
        ("postgresql://db/ark?sslmode=require", {}, "require", None),
        ("postgresql://db/ark?sslmode=verify-full", {}, "verify-full", "/ca.pem"),
        ("postgresql://db/ark?sslrootcert=system", {}, "verify-full", "/ca.pem"),
        ("postgresql://db/ark?sslrootcert=/own.pem", {}, "verify-full", "/own.pem"),
        ("postgresql://10.0.0.1/ark", {}, "verify-full", "/ca.pem"),
        ("postgresql://localhost,db/ark", {}, "verify-full", "/ca.pem"),
        ("postgresql:///ark?service=events", {}, "verify-full", "/ca.pem"),
        ("postgresql:///ark", {"PGHOST": "db"}, "verify-full", "/ca.pem"),
        ("postgresql:///ark", {"PGSERVICE": "events"}, "verify-full", "/ca.pem"),
        ("postgresql://db/ark", {"PGSSLMODE": "require"}, None, None),
        ("postgresql://localhost/ark", {}, None, None),
        ("postgresql://127.0.0.1:5/ark", {}, None, None),
        ("postgresql://[::1]/ark", {}, None, None),
        ("postgresql:///ark?host=/run/postgresql", {}, None, None),
        ("postgresql:///ark", {}, None, None),
        ("postgresql://db/ark?hostaddr=127.0.0.1", {}, None, None),
    ],
)
def test_a_server_elsewhere_must_prove_its_name_unless_the_user_says_otherwise(
    url: str, variables: dict[str, str], mode: str | None, roots: str | None
) -> None:
    found = address_of(url, variables, ca_file="/ca.pem").parameters
    assert (found.get("sslmode"), found.get("sslrootcert")) == (mode, roots)


def test_a_password_may_contain_anything_if_it_is_encoded() -> None:
    assert address_of("postgresql://ark:%40%3A%2F%20@db/ark", {}).parameters["password"] == "@:/ "


def test_prepare_is_for_ark_and_not_for_libpq() -> None:
    assert address_of("postgresql://db/ark", {}).prepare
    found = address_of("postgresql://db/ark?prepare=off&sslmode=require", {})
    assert not found.prepare
    assert found.parameters == {"host": "db", "dbname": "ark", "sslmode": "require"}


def test_the_url_may_be_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://ark:hunter2@db/ark\n")
    for text in ("env:HERE", f"file:{file}"):
        found = address_of(text, {"HERE": "postgresql://ark:hunter2@db/ark"})
        assert (found.masked, found.parameters["password"]) == ("postgresql://ark:***@db/ark", "hunter2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis://db/0", "ark keeps no queue at redis://; give postgresql://USER@HOST/DATABASE"),
        ("postgresql+psycopg://ark:hunter2@db/ark", "ark keeps no queue at postgresql+psycopg://"),
        ("hunter2", "ark keeps no queue there; give postgresql://"),
        ("ark:hunter2://db", "ark keeps no queue there; give postgresql://"),
        ("postgresql://ark:hunter2%zz@db/ark", "cannot be read: write @ :"),
        ("postgresql://ark:hunter2@2@db/ark", "its host, port or database is not one; write @ :"),
        ("postgresql://ark:hunter/2@db/ark", "its host, port or database is not one"),
        ("postgresql://ark:hunter 2@db/ark", "white space"),
        ("postgresql://db/ark?pasword=hunter2", "it has an unknown parameter, pasword"),
        ("postgresql://db/ark?prepare=no", "prepare must be on or off"),
        ("env:NOWHERE", "NOWHERE is not in the environment; export it"),
        ("env:EMPTY", "ARK_QUEUE is env:EMPTY, which is empty"),
        ("file:/does/not/exist", "file:/does/not/exist, which cannot be read: No such file or directory"),
        (" ", "ARK_QUEUE is empty"),
    ],
)
def test_what_is_not_the_url_of_a_database_is_refused_without_showing_it(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        address_of(text, {"EMPTY": ""})
    assert said in str(raised.value)
    assert "hunter" not in str(raised.value)


@given(st.text(min_size=6).filter(lambda text: text not in "postgresql://ark:***@db/ark ARK_QUEUE cannot be read"))
def test_no_password_is_ever_shown_encoded_or_not(password: str) -> None:
    from urllib.parse import quote

    secret = f"Qz{password}Zq"
    for typed in (quote(secret, safe="", errors="surrogatepass"), secret):
        try:
            shown = address_of(f"postgresql://ark:{typed}@db/ark", {}).masked
        except UsageError as error:
            shown = str(error)
        assert secret not in shown
        assert typed not in shown
