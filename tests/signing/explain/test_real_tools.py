"""Bodies and signatures spoiled by real tools: none matches, and `ark verify --explain` names the cause."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.contract import samples
from arkcli.signing import sign
from tests.world import START, TestReceiver, World

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SECRET = "s3cret"
#: With characters beyond ASCII, a slash and a whole number written as a fraction, which tools spell differently.
SENT = samples.sample("signal.play_matched", START).replace(b"Northwind", "Nørthwind".encode())

#: cause, the tools it needs, and the shell command that spoils standard input.
SPOILED = [
    ("newline-added", "bash", 'echo "$(cat)"'),
    ("newline-added", "sed", "sed '$a\\'"),
    ("newline-added", "unix2dos", "(cat; echo) | unix2dos"),
    ("newline-added", "awk", "awk 1"),
    ("byte-order-mark-added", "unix2dos", "unix2dos --add-bom | tr -d '\\r'"),
    ("byte-order-mark-added", "bash", "printf '\\357\\273\\277'; cat"),
    ("json-reserialised", "python3", "python3 -c 'import json,sys; json.dump(json.load(sys.stdin), sys.stdout)'"),
    ("json-reserialised", "python3", "python3 -m json.tool"),
    ("json-reserialised", "python3", "python3 -m json.tool --compact --no-ensure-ascii | python3 -m json.tool --tab"),
    ("json-reserialised", "node", "node -p 'JSON.stringify(JSON.parse(fs.readFileSync(0)), null, 2)'"),
    ("json-reserialised", "node", "node -p 'JSON.stringify(JSON.parse(fs.readFileSync(0)), null, 4)'"),
    ("json-reserialised", "jq", "jq ."),
    ("json-reserialised", "jq", "jq --tab ."),
    ("json-reserialised", "jq", "jq -a -c ."),
    ("json-reserialised", "php", "php -r 'echo json_encode(json_decode(stream_get_contents(STDIN)));'"),
    ("json-reserialised", "php", "php -r 'echo json_encode(json_decode(stream_get_contents(STDIN)), 128);'"),
    ("json-keys-sorted", "jq", "jq -S -c ."),
    ("json-keys-sorted", "python3", "python3 -m json.tool --sort-keys"),
    ("json-in-a-string", "node", "node -p 'JSON.stringify(fs.readFileSync(0).toString())' | tr -d '\\n'"),
    ("json-in-a-string", "jq", "jq -Rs ."),
    ("node-buffer", "node", "node -p 'JSON.stringify(fs.readFileSync(0))'"),
    ("body-not-written-out", "node", "node -p 'String(JSON.parse(fs.readFileSync(0)))'"),
    ("python-repr", "python3", "python3 -c 'import sys; sys.stdout.write(repr(sys.stdin.buffer.read()))'"),
    ("python-repr", "python3", "python3 -c 'import json,sys; sys.stdout.write(str(json.load(sys.stdin)))'"),
    ("body-base64", "base64", "base64"),
    ("body-base64", "openssl", "openssl base64 -A"),
    ("utf-16", "iconv", "iconv -f UTF-8 -t UTF-16"),
    ("utf-16", "iconv", "iconv -f UTF-8 -t UTF-16LE"),
    ("encoded-twice", "iconv", "iconv -f LATIN1 -t UTF-8"),
    ("latin-1", "iconv", "iconv -f UTF-8 -t LATIN1"),
    ("body-cut-off", "head", "head -c 400"),
    ("body-empty", "true", "true"),
    ("something-behind", "dd", "dd bs=4096 conv=sync status=none"),
    ("url-encoded", "python3", "python3 -c 'import sys,urllib.parse as u; print(u.quote(sys.stdin.read()), end=\"\")'"),
]

NODE_HMAC = (
    'node -e \'process.stdout.write(crypto.createHmac("sha256", process.env.SECRET)'
    '.update(fs.readFileSync(0).toString(), {}).digest("hex"))\''
)

#: cause, the tools it needs, and the shell command that signs standard input in a wrong way.
MISSIGNED = [
    ("signature-base64", "openssl", "openssl dgst -sha256 -hmac $SECRET -binary | openssl base64 -A"),
    ("signature-base64", "base64", "ark sign | tr -d '\\n' | base64 -w 0"),
    ("hmac-sha1", "openssl", "openssl dgst -sha1 -hmac $SECRET -r | cut -c -40"),
    ("hmac-sha512", "openssl", "openssl dgst -sha512 -hmac $SECRET -r | cut -c -128"),
    ("plain-sha256", "sha256sum", "sha256sum | cut -c -64"),
    ("joined-not-hmac", "sha256sum", '(printf %s "$SECRET"; cat) | sha256sum | cut -c -64'),
    ("secret-newline", "openssl", "openssl dgst -sha256 -mac hmac -macopt hexkey:7333637265740a -r | cut -c -64"),
    ("secret-newline", "bash", "ark sign --secret \"$SECRET\"$'\\n'"),
    ("signature-prefix", "openssl", "openssl dgst -sha256 -hmac $SECRET"),
    ("newline-lost", "bash", "(cat; echo) | ark sign"),
    ("json-reserialised+newline-lost", "jq", "jq . | ark sign"),
    ("json-numbers", "sed", "sed 's/:92,/:92.0,/' | ark sign"),
    ("signature-cut-off", "head", "ark sign | head -c 60"),
    ("another-header", "bash", 'printf "X-Signature: sha256=%s" "$(ark sign)"'),
    ("signed-as-github", "bash", 'printf "X-Hub-Signature-256: sha256=%s" "$(ark sign)"'),
    ("signed-as-stripe", "bash", 'printf "t=17,v1=%s" "$( (printf 17.; cat) | ark sign)"'),
    (
        "webhook-timestamp",
        "openssl",
        'printf "webhook-id: m\nwebhook-timestamp: 17\nwebhook-signature: v1,"; (printf m.17.; cat) |'
        " openssl dgst -sha256 -hmac $SECRET -binary | openssl base64 -A",
    ),
    ("hashed-as-ascii", "perl", 'perl -MEncode -0777 -pe \'$_ = encode("ascii", decode("UTF-8", $_))\' | ark sign'),
    ("hashed-as-latin-1", "node", NODE_HMAC.format('"latin1"')),
    ("hashed-as-utf-16", "node", NODE_HMAC.format('"utf16le"')),
    ("hashed-as-utf-16", "iconv", "iconv -f UTF-8 -t UTF-16 | ark sign"),
    (
        "json-reserialised",
        "perl",
        "perl -MJSON::PP -0777 -e 'print JSON::PP->new->canonical->ascii->encode(decode_json(<>))' | ark sign",
    ),
]


#: Go writes maps in alphabetical order, with < and > as escapes.
GO = """package main

import (
	"encoding/json"
	"os"
)

func main() {
	var tree map[string]any
	if json.NewDecoder(os.Stdin).Decode(&tree) == nil {
		text, _ := json.Marshal(tree)
		os.Stdout.Write(text)
	}
}
"""


def shell(command: str, stdin: bytes, tools: str, **variables: str) -> bytes:
    for tool in (*tools.split(), "bash"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    environment = {**os.environ, "SECRET": SECRET, "ARK_SECRET": SECRET, "PATH": PATH, "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(["bash", "-c", command], input=stdin, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def explained(world: World, body: bytes, signature: str, *options: str) -> str:
    result = world.ark(
        "verify", "--explain", "--json", "--signature", signature, *(options or ("--secret", SECRET)), stdin=body
    )
    assert result.status == 1, result
    assert result.json["valid"] is False
    return str(result.json["cause"])


@pytest.mark.parametrize(("cause", "tools", "command"), SPOILED, ids=[row[2] for row in SPOILED])
def test_a_body_that_a_tool_has_spoiled(world: World, cause: str, tools: str, command: str) -> None:
    body = shell(command, SENT, tools)
    assert body != SENT
    assert explained(world, body, sign(SECRET, SENT)) == cause


NODE = "node -e 'process.stdout.write(JSON.stringify(JSON.parse(fs.readFileSync(0))))'"


@pytest.mark.parametrize(
    ("cause", "tools", "signed", "command"),
    [
        ("json-reserialised", "node", rb'{"name":"N\u00f8rthwind"}', NODE),
        ("json-reserialised", "node", rb'{"url":"https:\/\/a.example\/"}', NODE),
        ("json-numbers", "node", b'{"score":92.0,"count":1}', NODE),
        ("json-numbers", "jq", b'{"score":0.50,"count":1}', "jq -cj ."),
        ("json-numbers", "python3", b'{"score":4.20}', "python3 -m json.tool --compact | tr -d '\\n'"),
        (
            "json-reserialised",
            "php",
            b'{"url":"https://a.example/"}',
            "php -r 'echo json_encode(json_decode(fgets(STDIN)));'",
        ),
        ("json-reserialised", "go", b'{"event":"e","timestamp":"t","batchId":"<b>"}', 'go run "$GO"'),
    ],
)
def test_a_body_that_a_language_has_parsed_and_written_anew(
    world: World, tmp_path: Path, cause: str, tools: str, signed: bytes, command: str
) -> None:
    (tmp_path / "anew.go").write_text(GO)
    assert explained(world, shell(command, signed, tools, GO=str(tmp_path / "anew.go")), sign(SECRET, signed)) == cause


@pytest.mark.parametrize(("cause", "tools", "command"), MISSIGNED, ids=[row[2] for row in MISSIGNED])
def test_a_signature_that_a_tool_has_made_in_another_way(world: World, cause: str, tools: str, command: str) -> None:
    assert explained(world, SENT, shell(command, SENT, tools).decode().strip()) == cause


@pytest.mark.parametrize(
    ("cause", "options", "put"),
    [
        ("newline-lost", "-d @body.json", lambda sent: sent + b"\n"),
        ("newline-lost", '-d "$(cat body.json)"', lambda sent: sent + b"\n"),
        (
            "json-reserialised+newline-lost",
            "-d @body.json",
            lambda sent: b'{\n  "event": "ping",\n  "a": [\n    1\n  ]\n}\n',
        ),
        ("url-encoded", "--data-urlencode payload@body.json", lambda sent: sent),
        ("url-encoded", "--data-urlencode payload@body.json", lambda sent: b'{"text":"1 + 1"}'),
    ],
)
def test_a_body_that_curl_has_sent_in_another_way_than_it_was_signed(
    world: World,
    receive: Callable[..., TestReceiver],
    tmp_path: Path,
    cause: str,
    options: str,
    put: Callable[[bytes], bytes],
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    signed = put(SENT)
    (tmp_path / "body.json").write_bytes(signed)
    receiver = receive(200)
    command = f"curl -sS --fail -H 'X-SignalArk-Signature: {sign(SECRET, signed)}' {options} {receiver.url}"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    (request,) = receiver.requests
    assert sorted(explained(world, request.body, request.signature).split("+")) == sorted(cause.split("+"))


def test_a_body_that_curl_has_sent_as_it_is_verifies(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "body.json").write_bytes(SENT + b"\n")
    receiver = receive(200)
    subprocess.run(["curl", "-sS", "--data-binary", "@body.json", receiver.url], cwd=tmp_path, check=True)
    body = receiver.requests[0].body
    assert (
        world.ark(
            "verify", "--explain", "--secret", SECRET, "--signature", sign(SECRET, SENT + b"\n"), stdin=body
        ).status
        == 0
    )


@pytest.mark.parametrize(
    ("cause", "tools", "command"),
    [
        ("crlf-line-ends", "unix2dos", "unix2dos"),
        ("crlf-line-ends", "sed", "sed 's/$/\\r/'"),
        ("byte-order-mark-added+crlf-line-ends", "unix2dos", "unix2dos --add-bom"),
    ],
)
def test_a_file_that_an_editor_on_windows_has_saved(world: World, cause: str, tools: str, command: str) -> None:
    signed = b'{\n  "event": "ping"\n}\n'
    found = explained(world, shell(command, signed, tools), sign(SECRET, signed))
    assert sorted(found.split("+")) == sorted(cause.split("+"))


@pytest.mark.parametrize(
    ("cause", "command"),
    [
        ("secret-quotes", 'printf \'"%s"\' "$SECRET"'),
        ("secret-assignment", "printf 'SECRET=%s' \"$SECRET\""),
        ("secret-base64", 'printf %s "$SECRET" | base64'),
        ("secret-hex", 'printf %s "$SECRET" | od -An -tx1 | tr -d " \\n"'),
        ("secret-case", 'printf %s "$SECRET" | tr a-z A-Z'),
        ("secret-encoding", 'printf "\\357\\273\\277%s" "$SECRET"'),
        ("secret-unexpanded", "printf '$SECRET'"),
        ("secret-masked", "printf '***'"),
    ],
)
def test_a_secret_that_was_kept_in_another_form(world: World, tmp_path: Path, cause: str, command: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(shell(command, b"", "base64 od"))
    assert explained(world, SENT, sign(SECRET, SENT), "--secret-file", str(file)) == cause
