"""`ark sign` of 1 GiB on standard input, against `openssl dgst -sha256 -hmac`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import measure, peers
from bench.home import workplace
from bench.measure import ARK, Contestant, Goal, Options, Result

SIZE: Final = 1 << 30
_SMALL: Final = 1 << 24
_KEY: Final = "k"
_GOALS: Final = (Goal(at_most=1.1),)
_FLAT: Final = (Goal(at_most=1.1),)


def results(options: Options) -> list[Result]:
    """Seconds, and peak memory against that of signing 16 MiB."""
    openssl = peers.program("openssl")
    peer = [openssl, "dgst", "-sha256", "-hmac", _KEY]
    ark = [ARK, "sign", "--secret", _KEY]
    with workplace() as directory:
        large = _zeros(directory / "large", SIZE)
        small = _zeros(directory / "small", _SMALL)
        if _signature(ark, large) != _signature(peer, large):
            raise RuntimeError("ark and openssl disagree")
        found = measure.alternate(
            options.rounds,
            [
                _contestant("openssl", peer, large),
                _contestant("ark", ark, large),
                _contestant("small", ark, small),
                _contestant("again", peer, large),
                _contestant("small again", ark, small),
            ],
        )
    times = Result("ark sign, 1 GiB", "s", found["ark"], "openssl dgst", found["openssl"], found["again"], _GOALS)
    memory, small_memory, noise = (found[f"{name}, MiB"] for name in ("ark", "small", "small again"))
    return [times, Result("ark sign, 1 GiB, peak memory", "MiB", memory, "16 MiB", small_memory, noise, _FLAT)]


def _zeros(path: Path, size: int) -> Path:
    """A sparse file: it reads as zeros and takes no disk space."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def _signature(command: Sequence[str], stdin: Path) -> bytes:
    return measure.run(command, stdin=stdin).output.split()[-1]


def _contestant(name: str, command: Sequence[str], stdin: Path) -> Contestant:
    def contestant() -> dict[str, float]:
        finished = measure.run(command, stdin=stdin)
        return {name: finished.seconds, f"{name}, MiB": finished.mebibytes}

    return contestant


if __name__ == "__main__":
    measure.main(results)
