"""Python `websockets` as the client: text, binary, fragments, pings, closes, subprotocols."""

import asyncio
import json
import os
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

from cases import case, case_at, check, equal, main


def socket(options, path="/socket?a=b", **more):
    more.setdefault("compression", None)
    more.setdefault("max_size", 32 << 20)
    return connect(f"ws://{options.entry}{path}", proxy=None, open_timeout=10, close_timeout=5, **more)


@case
async def text(options):
    async with socket(options) as ws:
        for message in ["", "hello", "gr\u00fc\u00dfe \U0001f30d", "x" * 70_000]:
            await ws.send(message)
            equal(await ws.recv(), message)


@case
async def binary(options):
    async with socket(options) as ws:
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 3 << 20]:
            data = os.urandom(size)
            await ws.send(data)
            check(await ws.recv() == data, f"{size} bytes come back as they were")


@case
async def messages_keep_their_kind_and_order(options):
    async with socket(options) as ws:
        sent = [f"text {index}" if index % 2 else f"bytes {index}".encode() for index in range(1000)]

        async def send():
            for message in sent:
                await ws.send(message)

        sender = asyncio.create_task(send())
        equal([await ws.recv() for _ in sent], sent)
        await sender


@case
async def fragments_from_the_client(options):
    async with socket(options) as ws:
        await ws.send(["a", "", "b\u00fc", "c" * 5000])
        equal(await ws.recv(), "ab\u00fc" + "c" * 5000)
        await ws.send([b"1", b"", b"2"])
        equal(await ws.recv(), b"12")


@case
async def fragments_from_the_server(options):
    async with socket(options) as ws:
        await ws.send("fragments:4:abcdefghij")
        frames = [part async for part in ws.recv_streaming()]
        equal("".join(frames), "abcdefghij")
        equal(len(frames), 4, "fragments stay as they were cut")


@case
async def a_ping_between_fragments(options):
    async with socket(options) as ws:
        async def parts():
            yield "first,"
            await asyncio.wait_for(await ws.ping(b"between"), 5)
            yield "second"

        await ws.send(parts())
        equal(await ws.recv(), "first,second")


@case
async def pings_from_the_client(options):
    async with socket(options) as ws:
        for data in [b"", b"x", b"y" * 125]:
            waiter = await ws.ping(data)
            latency = await asyncio.wait_for(waiter, 5)
            check(latency < 5, f"the pong of {data!r} came")


@case
async def pings_from_the_server(options):
    async with socket(options) as ws:
        await ws.send("ping:are you there")
        equal(await asyncio.wait_for(ws.recv(), 5), "pong:are you there")


@case
async def closes_from_the_client(options):
    for code, reason in [(1000, ""), (1000, "done"), (1001, "going"), (3000, "mine"), (4999, "r" * 123)]:
        ws = await socket(options)
        await ws.send("x")
        await ws.recv()
        await ws.close(code, reason)
        equal((ws.close_code, ws.close_reason), (code, reason), "the close is answered in kind")


@case
async def closes_from_the_server(options):
    for code, reason in [(1000, "fine"), (1001, ""), (1008, "no"), (1011, "broken"), (3000, "theirs"), (4321, "\u00fc" * 60)]:
        async with socket(options) as ws:
            await ws.send(f"close:{code}:{reason}")
            try:
                await asyncio.wait_for(ws.recv(), 5)
                raise AssertionError(f"no close {code}")
            except ConnectionClosed as closed:
                check(closed.rcvd is not None, f"a Close frame with {code} came: {closed}")
                equal((closed.rcvd.code, closed.rcvd.reason), (code, reason))
                check(isinstance(closed, ConnectionClosedOK) == (code in (1000, 1001)), "its class fits")


@case
async def a_backend_that_vanishes(options):
    async with socket(options) as ws:
        await ws.send("drop")
        try:
            await asyncio.wait_for(ws.recv(), 5)
            raise AssertionError("the socket lives on")
        except ConnectionClosedError as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            check(code in (1006, 1011, 1014), f"an abrupt end is told as one, not as {code}")


@case
async def a_client_that_vanishes_leaves_others_alone(options):
    async with socket(options) as stays:
        gone = await socket(options)
        await gone.send("x")
        await gone.recv()
        gone.transport.abort()
        await stays.send("still here")
        equal(await stays.recv(), "still here")


@case
async def subprotocols(options):
    for offered, chosen in [(None, None), (["echo.v1"], "echo.v1"), (["other", "echo.v1", "echo.v2"], "echo.v2"), (["other"], None)]:
        # websockets fails by itself when the server chooses something that was not offered.
        async with socket(options, subprotocols=offered) as ws:
            equal(ws.subprotocol, chosen, f"of {offered}")


@case
async def the_handshake_reaches_the_backend(options):
    headers = {"X-Asked": "yes", "Cookie": "a=b; c=d", "Authorization": "Bearer token"}
    async with socket(options, "/chat/room%20one?x=1&y=%2F", additional_headers=headers, origin="https://app.example") as ws:
        await ws.send("handshake")
        told = json.loads(await ws.recv())
        equal(told["target"].removeprefix(f"ws://{options.entry}"), "/chat/room%20one?x=1&y=%2F")
        seen = {name: value for name, value in told["headers"]}
        equal((seen["x-asked"], seen["cookie"], seen["authorization"]), ("yes", "a=b; c=d", "Bearer token"))
        equal(seen["origin"], "https://app.example")
        check("demo-backend" in {name.lower() for name in ws.response.headers}, "headers of the answer come back")


@case
async def an_offer_to_compress_does_no_harm(options):
    async with socket(options, compression="deflate") as ws:
        await ws.send("squeeze me " * 1000)
        equal(await ws.recv(), "squeeze me " * 1000)


@case
async def messages_come_as_they_are_made(options):
    async with socket(options) as ws:
        began = time.monotonic()
        await ws.send("tick:4:200")
        times = []
        for tick in range(4):
            equal(await ws.recv(), f"tick {tick}")
            times.append(time.monotonic() - began)
        check(times[0] < 0.4 and times[-1] > 0.5, f"messages came at {times}")


@case
async def many_sockets_at_once(options):
    sockets = await asyncio.gather(*[socket(options, f"/{index}") for index in range(200)])
    try:
        for index, ws in enumerate(sockets):
            await ws.send(f"socket {index}")
        replies = await asyncio.gather(*[ws.recv() for ws in sockets])
        equal(replies, [f"socket {index}" for index in range(len(sockets))])
    finally:
        await asyncio.gather(*[ws.close() for ws in sockets])


@case
async def a_slow_reader_gets_everything(options):
    async with socket(options, max_queue=1) as ws:
        data = os.urandom(100_000)

        async def send():
            for _ in range(100):
                await ws.send(data)

        sender = asyncio.create_task(send())
        for index in range(100):
            if index % 10 == 0:
                await asyncio.sleep(0.02)
            check(await ws.recv() == data, "every message is whole")
        await sender


@case_at("local", "tunnel")
async def an_upgrade_without_a_version_is_refused(options):
    host, port = options.entry.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                 b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 5)
    status = int(line.split()[1])
    check(status in (400, 426), f"answered {line!r}")
    writer.close()


main()
