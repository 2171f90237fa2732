"""The programs in docs/serve.md, extracted and run unchanged: what they send arrives once."""

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.ingest.test_serve import serving
from tests.programs import Language, free_port, needs_express, programs_of, serving_on
from tests.started import until
from tests.world import World, receiver

PROGRAMS = programs_of("serve.md")
LANGUAGES = {
    "application.py": Language(sys.executable, [], [sys.executable, "application.py"]),
    "application.js": Language("node", [], ["node", "application.js"]),
    "application.go": Language("go", ["go", "build", "-o", "application", "application.go"], ["./application"]),
}


def test_the_page_has_a_program_for_each_language() -> None:
    assert PROGRAMS.keys() == LANGUAGES.keys()


@pytest.mark.parametrize("program", LANGUAGES)
def test_an_application_sends_each_deal_once_and_says_when_it_cannot(
    world: World, tmp_path: Path, program: str
) -> None:
    run = LANGUAGES[program].built(program, PROGRAMS[program], tmp_path)
    if program.endswith(".js"):
        needs_express(tmp_path)
    with receiver() as found:
        world.add(found, "crm")
        port, own = str(free_port()), free_port()
        token = world.home / "config" / "serve.token"
        with (
            serving(world, "--port", port) as served,
            serving_on(own, [*run, str(own)], tmp_path, ARK=served.addresses[0], ARK_TOKEN_FILE=str(token)) as url,
        ):
            for deal in ("d1", "d2", "d1"):
                said = httpx.post(f"{url}/deals/{deal}", json={"name": "Series B"}, trust_env=False)
                assert (said.status_code, said.json()) == (200, {"event": f"promoted-{deal}"})
            served.process.kill()
            served.process.wait()
            assert httpx.post(f"{url}/deals/d3", json={"name": "Series B"}, trust_env=False).status_code == 503
            with serving(world, "--port", port):
                said = httpx.post(f"{url}/deals/d3", json={"name": "Series B"}, trust_env=False)
                assert said.status_code == 200
                until(lambda: len(found.requests) == 3)
    deals = sorted(json.loads(request.body)["signal"]["id"] for request in found.requests)
    assert deals == ["d1", "d2", "d3"]
