"""One gRPC call of each kind and one WebSocket conversation through the demo: demo_smoke.py EDGE STUBS"""

import asyncio
import sys

import grpc
from websockets.asyncio.client import connect

edge, stubs = sys.argv[1:3]
sys.path.insert(0, stubs)

import demo_pb2  # noqa: E402 - found in `stubs`
import demo_pb2_grpc  # noqa: E402


def grpc_calls():
    with grpc.insecure_channel(edge) as channel:
        chat = demo_pb2_grpc.ChatStub(channel)
        assert chat.Say(demo_pb2.SayRequest(text="hello"), timeout=10).text == "hello"
        assert [reply.number for reply in chat.Count(demo_pb2.CountRequest(to=3), timeout=10)] == [1, 2, 3]
        assert chat.Sum((demo_pb2.SumRequest(number=number) for number in [1, 2, 39]), timeout=10).total == 42
        messages = [demo_pb2.ChatMessage(text=text) for text in ["a", "b"]]
        assert [reply.text for reply in chat.Chat(iter(messages), timeout=10)] == ["a", "b"]


async def websocket():
    async with connect(f"ws://{edge}/", proxy=None, open_timeout=10) as ws:
        for message in ["hello", b"\0\xff"]:
            await ws.send(message)
            assert await asyncio.wait_for(ws.recv(), 10) == message


grpc_calls()
print("grpc: ok")
asyncio.run(websocket())
print("websocket: ok")
