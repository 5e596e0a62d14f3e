"""What the Python platforms of RFC 8600 Figure 2 share: settings, reports, the word to publish. See strophe-figure2.c for the contract."""

import asyncio
import json
import os
import sys

IODEF = "urn:ietf:params:xml:ns:iodef-2.0"
DEADLINE_S = 40


def setting(name):
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f"{name} is not set")
    return value


def report(step, **fields):
    print(json.dumps({"step": step, **fields}), flush=True)


def read_payload():
    with open(setting("GRID_PAYLOAD"), "rb") as file:
        return file.read()


async def told_to_publish():
    """Returns when a line arrives on stdin."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    if not await reader.readline():
        raise EOFError("stdin ended before the word to publish")


def run(loop, platform):
    """Runs one platform to its last step; the exit status says how it went."""
    try:
        loop.run_until_complete(asyncio.wait_for(platform, DEADLINE_S))
    except Exception as error:  # every way to fail ends in one line that the test shows
        report("failed", why=f"{type(error).__name__}: {error}")
        sys.exit(1)
