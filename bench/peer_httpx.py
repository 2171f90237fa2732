"""httpx, 64 at once: `python peer_httpx.py URL BODIES`, one body per line. Prints its rate per second as JSON."""

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx


async def main() -> None:
    """Posts every body once. Nothing is signed or stored."""
    url, path = sys.argv[1:]
    bodies = Path(path).read_bytes().splitlines()
    left = iter(bodies)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=64, max_keepalive_connections=64)) as client:

        async def post() -> None:
            for body in left:
                answer = await client.post(url, content=body, headers={"Content-Type": "application/json"})
                answer.raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(64)))
        print(json.dumps({"deliver": len(bodies) / (time.perf_counter() - started)}))


if __name__ == "__main__":
    asyncio.run(main())
