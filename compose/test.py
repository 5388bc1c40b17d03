"""Calls of each protocol through the pair, made by other people's clients, and the trace that they leave.

test.py ADDRESS OTLP: ADDRESS is the edge of aws; at OTLP the gateways' traces are taken.
Prints a line for each thing that works; the first that does not ends the run with an exit code that is not 0.
"""

import asyncio
import concurrent.futures
import secrets
import sys
import threading
import time
import urllib.request

import grpc
import websockets

address, otlp = sys.argv[1:]


class Traces(grpc.GenericRpcHandler):
    """Takes what gateways export, and remembers which of them sent spans of one trace."""

    def __init__(self, trace):
        self.trace = trace
        self.senders = set()
        self.both = threading.Event()

    def service(self, call):
        if call.method.endswith("TraceService/Export"):
            # Without a serialiser: messages stay bytes.
            return grpc.unary_unary_rpc_method_handler(self.export)
        return None

    def export(self, spans, context):
        # A trace id is 16 bytes in the message, as they are.
        if self.trace in spans:
            self.senders.add(context.peer().rsplit(":", 1)[0])
        if len(self.senders) == 2:
            self.both.set()
        return b""


async def websocket():
    async with websockets.connect(f"ws://{address}/feed", open_timeout=10) as socket:
        for message in ("hello", b"\x00\xff"):
            await socket.send(message)
            answer = await asyncio.wait_for(socket.recv(), 10)
            assert answer == message, answer


def say():
    with grpc.insecure_channel(address) as channel:
        # SayRequest and SayReply of demo.proto: both begin with `string text = 1`.
        method = channel.unary_unary("/causeway.demo.v1.Chat/Say")
        reply, call = method.with_call(b"\x0a\x05hello", timeout=10)
    assert call.code() is grpc.StatusCode.OK, call
    assert reply.startswith(b"\x0a\x05hello") and b"azure" in reply, reply


def traced(traces):
    request = urllib.request.Request(f"http://{address}/traced")
    request.add_header("traceparent", f"00-{traces.trace.hex()}-{secrets.token_hex(8)}-01")
    until = time.monotonic() + 40
    # More than one request: an exporter that failed before this listened may wait before it tries again.
    while True:
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200, reply.status
        if traces.both.wait(2):
            return
        assert time.monotonic() < until, f"spans came from {traces.senders or 'nobody'} only"


def main():
    traces = Traces(secrets.token_bytes(16))
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[traces])
    server.add_insecure_port(otlp)
    server.start()
    asyncio.run(websocket())
    print("ok: WebSocket")
    say()
    print("ok: gRPC call")
    traced(traces)
    print("ok: one trace has spans of both gateways")
    server.stop(0)


main()
