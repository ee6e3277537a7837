"""Runs localstripe on a free port of this machine, without its file in /tmp, until standard input is closed."""

import asyncio
import sys

from aiohttp import web
from localstripe import resources
from localstripe.server import app


async def main() -> None:
    """Starts the server and prints its port."""
    resources.store.dump_to_disk = lambda: None
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
