"""Python httpx and h2 as clients: both versions of HTTP, streams in both directions, cancellation."""

import asyncio
import json
import socket
import time
import zlib

import h2.config
import h2.connection
import h2.events
import httpx

from cases import case, case_at, check, counters, equal, main, pattern, until

VERSIONS = [("HTTP/1.1", {"http1": True, "http2": False}), ("HTTP/2", {"http1": False, "http2": True})]


def client(options, version, **more):
    return httpx.AsyncClient(base_url=f"http://{options.entry}", timeout=20, trust_env=False, **version, **more)


def both(function):
    """A case for each version of HTTP."""
    async def run(options):
        for name, version in VERSIONS:
            try:
                await function(options, version)
            except Exception as error:
                raise AssertionError(f"over {name}: {type(error).__name__}: {error}") from error
    run.__name__ = function.__name__
    return case(run)


@both
async def requests_arrive_as_they_were_sent(options, version):
    async with client(options, version) as http:
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]:
            headers = [("x-one", "1"), ("x-list", "a"), ("x-list", "b"), ("cookie", "a=b; c=d")]
            body = b"" if method in ("GET", "OPTIONS") else b"a body"
            answer = await http.request(method, "/some/path%20here?q=1&q=2&e=%2F", headers=headers, content=body)
            equal(answer.status_code, 200)
            equal(answer.http_version, "HTTP/2" if version["http2"] else "HTTP/1.1")
            told = answer.json()
            equal((told["method"], told["path"], told["query"]), (method, "/some/path%20here", "q=1&q=2&e=%2F"))
            equal(told["body"], body.decode())
            equal(", ".join(told["headers"]["x-list"]), "a, b")
            equal(told["headers"]["cookie"], ["a=b; c=d"])
            check("demo-backend" in answer.headers, "headers of the answer come back")


@both
async def statuses(options, version):
    async with client(options, version) as http:
        for status in [200, 201, 204, 301, 304, 400, 401, 404, 409, 418, 429, 500, 502, 503]:
            answer = await http.get(f"/status/{status}")
            equal(answer.status_code, status)


@both
async def head_has_no_body(options, version):
    async with client(options, version) as http:
        answer = await http.head("/bytes/1000")
        equal((answer.status_code, answer.content, answer.headers.get("content-length")), (200, b"", "1000"))


@both
async def bodies_are_whole(options, version):
    async with client(options, version) as http:
        for size in [0, 1, 16_384, 65_536, 1_000_003, 8 << 20]:
            answer = await http.get(f"/bytes/{size}")
            check(answer.content == pattern(size), f"{size} bytes down")
            told = (await http.post("/upload", content=pattern(size))).json()
            equal((told["bytes"], told["crc32"]), (size, f"{zlib.crc32(pattern(size)):08x}"), f"{size} bytes up")


@both
async def uploads_without_a_length(options, version):
    async def pieces():
        for _ in range(100):
            yield pattern(10_000)

    async with client(options, version) as http:
        told = (await http.post("/upload", content=pieces())).json()
        equal((told["bytes"], told["crc32"]), (1_000_000, f"{zlib.crc32(pattern(10_000) * 100):08x}"))


@both
async def lines_come_as_they_are_made(options, version):
    async with client(options, version) as http:
        began = time.monotonic()
        async with http.stream("GET", "/stream?n=4&ms=200") as answer:
            times = [(line, time.monotonic() - began) async for line in answer.aiter_lines()]
        equal([line for line, _ in times], [f"tick {tick}" for tick in range(4)])
        check(times[0][1] < 0.4 and times[-1][1] > 0.5, f"lines came at {times}")


@both
async def events_come_as_they_are_made(options, version):
    async with client(options, version) as http:
        began = time.monotonic()
        async with http.stream("GET", "/events?n=3&ms=250", headers={"accept": "text/event-stream"}) as answer:
            equal(answer.headers["content-type"], "text/event-stream")
            data = [(line, time.monotonic() - began) async for line in answer.aiter_lines() if line.startswith("data:")]
        equal([json.loads(line[5:])["tick"] for line, _ in data], [0, 1, 2])
        check(data[0][1] < 0.4 and data[-1][1] > 0.4, f"events came at {data}")


@both
async def many_at_once(options, version):
    limits = httpx.Limits(max_connections=32)
    async with client(options, version, limits=limits) as http:
        answers = await asyncio.gather(*[http.get(f"/n/{index}") for index in range(300)])
        equal([answer.json()["path"] for answer in answers], [f"/n/{index}" for index in range(300)])


@both
async def a_client_that_leaves_cancels_the_backends_work(options, version):
    before = counters(options)
    async with client(options, version) as http:
        asked = asyncio.create_task(http.get("/hang"))
        while counters(options)["waiting"] <= before["waiting"]:
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    began = time.monotonic()
    until("the backend's call is cancelled", lambda: counters(options)["cancelled"] > before["cancelled"])
    check(time.monotonic() - began < 2, "a cancelled call ends at the backend within 2 s")


@both
async def a_client_that_leaves_in_the_middle_of_a_body(options, version):
    async with client(options, version) as http:
        async with http.stream("GET", f"/bytes/{1 << 30}") as answer:
            async for _ in answer.aiter_bytes():
                break
        equal((await http.get("/after")).json()["path"], "/after")


@both
async def an_early_answer_ends_an_upload(options, version):
    async def slowly():
        for _ in range(20):
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    async with client(options, version) as http:
        answer = await http.post("/early", content=slowly())
        equal(answer.status_code, 403)
    async with client(options, version) as http:
        equal((await http.get("/after")).json()["path"], "/after")


@both
async def a_slow_reader_gets_everything(options, version):
    async with client(options, version) as http:
        crc, length = 0, 0
        async with http.stream("GET", f"/bytes/{4 << 20}") as answer:
            async for piece in answer.aiter_bytes(256 << 10):
                crc, length = zlib.crc32(piece, crc), length + len(piece)
                await asyncio.sleep(0.01)
        equal((length, crc), (4 << 20, zlib.crc32(pattern(4 << 20))))


@case
def both_directions_flow_at_once(options):
    """An echo over raw HTTP/2: each piece must come back before the next one is sent."""
    host, port = options.entry.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        http.initiate_connection()
        stream = http.get_next_available_stream_id()
        http.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":authority", options.entry), (":path", "/echo")])
        raw.sendall(http.data_to_send())
        back, ended, status = b"", False, None
        for index in range(20):
            piece = f"piece {index};".encode()
            http.send_data(stream, piece)
            raw.sendall(http.data_to_send())
            wanted = len(back) + len(piece)
            while len(back) < wanted:
                data = raw.recv(65_536)
                check(data, f"the connection ended after {back!r}")
                for event in http.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[":status"]
                    if isinstance(event, h2.events.DataReceived):
                        back += event.data
                        http.acknowledge_received_data(event.flow_controlled_length, stream)
                    check(not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), str(event))
                raw.sendall(http.data_to_send())
        http.end_stream(stream)
        raw.sendall(http.data_to_send())
        while not ended:
            data = raw.recv(65_536)
            check(data, "the connection ended before the stream")
            ended = any(isinstance(event, h2.events.StreamEnded) for event in http.receive_data(data))
        equal((status, back), ("200", b"".join(f"piece {index};".encode() for index in range(20))))


@case_at("local", "tunnel")
async def forwarded_headers_are_the_gateways(options):
    spoofed = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9", "x-real-ip": "203.0.113.9",
               "x-causeway-caller": "spiffe://evil.example/x", "x_forwarded_for": "203.0.113.9"}
    for _, version in VERSIONS:
        async with client(options, version) as http:
            told = (await http.get("/", headers=spoofed)).json()["headers"]
            lies = {name: values for name, values in told.items() if "203.0.113.9" in str(values) or "evil" in str(values)}
            equal(lies, {}, "what a client states about itself")


@case_at("local", "tunnel")
async def the_host_stays(options):
    for _, version in VERSIONS:
        async with client(options, version) as http:
            told = (await http.get("/", headers={"host": "api.acme.example"})).json()
            equal(told["headers"].get("host") or [told["authority"]], ["api.acme.example"])


main()
