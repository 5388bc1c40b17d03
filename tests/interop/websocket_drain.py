"""Opens a WebSocket, says so, and prints the code that it is closed with."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main():
    async with connect(f"ws://{sys.argv[1]}/", proxy=None, compression=None) as ws:
        await ws.send("hello")
        await ws.recv()
        print(json.dumps({"ready": True}), flush=True)
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            print("closed", closed.rcvd.code if closed.rcvd else 1006, flush=True)


asyncio.run(main())
