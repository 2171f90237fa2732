"""`ark config`: paths of files, and sources of settings."""

import pytest

from tests.world import World


def settings(world: World) -> dict[str, tuple[object, str]]:
    found = world.ark("config", "show", "--json").json["settings"]
    return {one["name"]: (one["value"], one["source"]) for one in found}


def test_the_paths(world: World) -> None:
    assert world.ark("config", "path", "--json").json == {
        "config_dir": str(world.home / "config"),
        "store": str(world.store_file),
        "state_dir": str(world.home / "state"),
        "queue": str(world.queue_directory),
    }
    assert f"queue\t{world.queue_directory}\n" in world.ark("config", "path").out
    assert not world.home.exists()


def test_each_setting_says_where_it_comes_from(world: World) -> None:
    found = settings(world)
    assert found["config_dir"] == (str(world.home / "config"), "environment ARK_CONFIG_DIR")
    assert found["queue.keep"] == ("7d", "default")
    assert found["secret"] == (None, "default")
    assert found["concurrency"] == (64, "default")
    assert found["color"] == ("auto", "default")
    assert "color\tnever\t--color\n" in world.ark("--color", "never", "config", "show").out
    world.store_file.parent.mkdir(parents=True)
    world.store_file.write_text('version = 1\n[queue]\nkeep = "2d"\n[workspace]\nsecret = "s3cret"\n')
    world.store_file.chmod(0o600)
    found = settings(world)
    assert found["queue.keep"] == ("2d", str(world.store_file))
    assert found["secret"][1] == str(world.store_file)


@pytest.mark.parametrize(
    ("stored", "source"),
    [
        ("s3cret", "destinations.toml"),
        ("env:MY_SECRET", "environment MY_SECRET"),
        ("env:MISSING", "environment MISSING, which cannot be read"),
        ("file:/no/such/file", "/no/such/file, named in "),
    ],
)
def test_a_secret_is_masked_wherever_it_stands(world: World, stored: str, source: str) -> None:
    world.variables |= {"MY_SECRET": "s3cret", "ARK_SECRET": "s3cret-of-mine"}
    world.store_file.parent.mkdir(parents=True)
    world.store_file.write_text(f'version = 1\n[workspace]\nsecret = "{stored}"\n')
    world.store_file.chmod(0o600)
    for shown in (world.ark("config", "show"), world.ark("config", "show", "--json")):
        assert shown.status == 0
        assert "s3cret" not in shown.out
        assert source in shown.out
        assert "environment ARK_SECRET" in shown.out
