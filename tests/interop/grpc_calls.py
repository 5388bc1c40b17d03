"""Python grpcio as the client: all four kinds, metadata, trailers, statuses, deadlines, cancellation, sizes."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

import demo_pb2
import demo_pb2_grpc
from cases import case, case_at, check, counters, equal, main, pattern, until

MIB = 1 << 20


def channel(options):
    return grpc.insecure_channel(options.entry, options=[
        # Channels share connections otherwise.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", 64 * MIB),
        ("grpc.max_send_message_length", 64 * MIB),
    ])


def stub(opened):
    return demo_pb2_grpc.ChatStub(opened)


def fails(call, code):
    """The error of a call that must fail with `code`."""
    try:
        result = call()
    except grpc.RpcError as error:
        equal(error.code(), code, f"status ({error.details()})")
        return error
    raise AssertionError(f"succeeded with {str(result)[:200]!r}, wanted {code}")


@case
def unary(options):
    with channel(options) as opened:
        reply = stub(opened).Say(demo_pb2.SayRequest(text="hello", data=b"\0\xff"), timeout=10)
        equal((reply.text, reply.data), ("hello", b"\0\xff"))


@case
def metadata_crosses_in_text_and_binary(options):
    with channel(options) as opened:
        raw = bytes(range(256))
        sent = [("x-text", "a b; c,d"), ("x-raw-bin", raw), ("x-twice", "1"), ("x-empty-bin", b"")]
        reply, call = stub(opened).Say.with_call(demo_pb2.SayRequest(text="m"), metadata=sent, timeout=10)
        equal(reply.metadata["x-text"], "a b; c,d")
        value = reply.metadata["x-raw-bin"]
        equal(base64.b64decode(value + "=" * (-len(value) % 4)), raw, "binary metadata to the backend")
        equal(reply.metadata["te"], "trailers", "te: trailers reaches the backend")
        check("user-agent" in reply.metadata, "user-agent reaches the backend")
        initial = dict(call.initial_metadata())
        check("demo-backend" in initial, f"initial metadata comes back: {initial}")
        equal(initial["demo-backend-bin"], b"\0\x01\xff", "binary initial metadata")


@case
def trailers_of_a_good_call(options):
    with channel(options) as opened:
        _, call = stub(opened).Say.with_call(demo_pb2.SayRequest(), metadata=[("demo-trailers", "1")], timeout=10)
        trailers = dict(call.trailing_metadata())
        equal(trailers.get("demo-trailer"), "after the last message")
        equal(trailers.get("demo-trailer-bin"), b"\0\x01\xff")


@case
def trailers_after_a_stream(options):
    with channel(options) as opened:
        call = stub(opened).Count(demo_pb2.CountRequest(to=3), metadata=[("demo-trailers", "1")], timeout=10)
        equal([reply.number for reply in call], [1, 2, 3])
        equal(dict(call.trailing_metadata()).get("demo-trailer"), "after the last message")


@case
def server_stream(options):
    with channel(options) as opened:
        replies = stub(opened).Count(demo_pb2.CountRequest(to=500), timeout=20)
        equal([reply.number for reply in replies], list(range(1, 501)))


@case
def server_stream_comes_as_it_is_made(options):
    with channel(options) as opened:
        began = time.monotonic()
        replies = stub(opened).Count(demo_pb2.CountRequest(to=5, pause_ms=200), timeout=20)
        times = [time.monotonic() - began for _ in replies]
        check(times[0] < 0.5 and times[-1] > 0.7, f"messages came at {times}")


@case
def server_stream_that_fails_at_its_end(options):
    with channel(options) as opened:
        replies = stub(opened).Count(demo_pb2.CountRequest(to=2, code=8), timeout=10)
        seen = []
        error = fails(lambda: [seen.append(reply.number) for reply in replies], grpc.StatusCode.RESOURCE_EXHAUSTED)
        equal(seen, [1, 2])
        equal(error.details(), "counted to the end")


@case
def client_stream(options):
    with channel(options) as opened:
        numbers = (demo_pb2.SumRequest(number=number, data=b"x" * 100) for number in range(1000))
        total = stub(opened).Sum(numbers, timeout=20)
        equal((total.total, total.messages, total.bytes), (499500, 1000, 100_000))


@case
def client_stream_without_messages(options):
    with channel(options) as opened:
        total = stub(opened).Sum(iter(()), timeout=10)
        equal((total.total, total.messages), (0, 0))


@case
def bidirectional_in_lockstep(options):
    with channel(options) as opened:
        said = threading.Semaphore(0)

        def messages():
            for index in range(50):
                said.acquire()
                yield demo_pb2.ChatMessage(text=f"m{index}")

        replies = stub(opened).Chat(messages(), timeout=20)
        for index in range(50):
            said.release()
            reply = next(replies)
            equal((reply.text, reply.sequence), (f"m{index}", index))
        equal(list(replies), [], "the stream ends after the half-close")


@case
def bidirectional_that_fails_in_the_middle(options):
    with channel(options) as opened:
        messages = iter([demo_pb2.ChatMessage(text="a"), demo_pb2.ChatMessage(text="fail:9:not now")])
        replies = stub(opened).Chat(messages, timeout=10)
        equal(next(replies).text, "a")
        error = fails(lambda: next(replies), grpc.StatusCode.FAILED_PRECONDITION)
        equal(error.details(), "not now")


@case
def every_status_with_message_details_and_trailers(options):
    with channel(options) as opened:
        for code in grpc.StatusCode:
            number, _ = code.value
            if number == 0:
                continue
            message = f"code {number}: 100% \u00fcnic\u00f6de\nsecond line"
            trailers = {"x-why": "because", "x-raw-bin": "raw"}
            request = demo_pb2.FailRequest(code=number, message=message, detail="reason", trailers=trailers)
            error = fails(lambda: stub(opened).Fail(request, timeout=10), code)
            equal(error.details(), message, f"message of {code}")
            sent = dict(error.trailing_metadata())
            equal((sent.get("x-why"), sent.get("x-raw-bin")), ("because", b"raw"), f"trailers of {code}")
            status = rpc_status.from_call(error)
            equal((status.code, status.message), (number, message), f"details of {code}")
            detail = demo_pb2.FailDetail()
            check(status.details[0].Unpack(detail), f"detail of {code} unpacks")
            equal(detail.reason, "reason")


@case
def unknown_methods_and_services_are_unimplemented(options):
    with channel(options) as opened:
        for method in ["/causeway.demo.v1.Chat/Nothing", "/nobody.knows.Me/Method"]:
            call = opened.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
            fails(lambda: call(b"", timeout=10), grpc.StatusCode.UNIMPLEMENTED)


@case
def large_messages_both_ways(options):
    with channel(options) as opened:
        for size in [0, 1, 16_376, 65_535, 65_536, MIB, 3 * MIB]:
            data = pattern(size)
            reply = stub(opened).Say(demo_pb2.SayRequest(data=data), timeout=20)
            check(reply.data == data, f"{size} bytes come back as they were")


@case
def a_large_stream_both_ways(options):
    with channel(options) as opened:
        chunk = pattern(256 << 10)
        total = stub(opened).Sum((demo_pb2.SumRequest(data=chunk) for _ in range(64)), timeout=25)
        equal(total.bytes, 16 * MIB)
        replies = stub(opened).Count(demo_pb2.CountRequest(to=64, reply_bytes=len(chunk)), timeout=25)
        check(all(reply.data == chunk for reply in replies), "every message is whole")


@case
def compressed_requests(options):
    with channel(options) as opened:
        data = b"again and again " * 10_000
        reply = stub(opened).Say(demo_pb2.SayRequest(data=data), compression=grpc.Compression.Gzip, timeout=10)
        check(reply.data == data, "a gzip message comes back as it was")


@case
def a_deadline_ends_the_call_and_the_backends_work(options):
    before = counters(options)["cancelled"]
    with channel(options) as opened:
        began = time.monotonic()
        fails(lambda: stub(opened).Sleep(demo_pb2.SleepRequest(for_ms=20_000), timeout=0.4), grpc.StatusCode.DEADLINE_EXCEEDED)
        took = time.monotonic() - began
        check(0.3 < took < 2, f"the deadline of 0.4 s ended the call after {took:.3f} s")
        until("the backend's call is cancelled", lambda: counters(options)["cancelled"] > before)


@case
def the_deadline_reaches_the_backend_shrunk(options):
    units = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1, "M": 60, "H": 3600}
    with channel(options) as opened:
        reply = stub(opened).Say(demo_pb2.SayRequest(), timeout=7)
        left = reply.metadata["grpc-timeout"]
        seconds = int(left[:-1]) * units[left[-1]]
        check(4 < seconds <= 7, f"of 7 s the backend was told {left}")
        reply = stub(opened).Say(demo_pb2.SayRequest())
        check("grpc-timeout" not in reply.metadata or options.kind != "direct", "without a deadline none is sent")


@case
def a_deadline_in_the_middle_of_a_stream(options):
    with channel(options) as opened:
        replies = stub(opened).Count(demo_pb2.CountRequest(to=1000, pause_ms=100), timeout=0.65)
        seen = []
        fails(lambda: [seen.append(reply.number) for reply in replies], grpc.StatusCode.DEADLINE_EXCEEDED)
        check(3 <= len(seen) <= 7, f"{len(seen)} messages came before the deadline")


@case
def cancelling_reaches_the_backend(options):
    before = counters(options)["cancelled"]
    with channel(options) as opened:
        stubs = stub(opened)
        calls = [
            stubs.Sleep.future(demo_pb2.SleepRequest(for_ms=20_000)),
            stubs.Count(demo_pb2.CountRequest(to=1000, pause_ms=50)),
            stubs.Count(demo_pb2.CountRequest(to=9, pause_ms=5000)),
        ]
        equal(next(calls[1]).number, 1)
        equal(next(calls[2]).number, 1)
        until("the sleeping call has arrived", lambda: counters(options)["waiting"] >= 3)
        began = time.monotonic()
        for call in calls:
            call.cancel()
        until("all three calls are cancelled", lambda: counters(options)["cancelled"] >= before + 3)
        took = time.monotonic() - began
        check(took < 1, f"cancelling took {took:.3f} s to reach the backend")
        equal(calls[0].code(), grpc.StatusCode.CANCELLED)


@case
def an_open_request_stream_is_cancelled_too(options):
    before = counters(options)["cancelled"]
    with channel(options) as opened:
        forever = threading.Event()

        def messages():
            yield demo_pb2.ChatMessage(text="only one")
            forever.wait(20)

        replies = stub(opened).Chat(messages())
        equal(next(replies).text, "only one")
        replies.cancel()
        until("the chat is cancelled", lambda: counters(options)["cancelled"] > before)
        forever.set()


@case
def many_calls_on_one_connection(options):
    with channel(options) as opened, ThreadPoolExecutor(32) as pool:
        say = stub(opened).Say
        texts = [f"call {index}" for index in range(500)]
        replies = pool.map(lambda text: say(demo_pb2.SayRequest(text=text), timeout=25).text, texts)
        equal(list(replies), texts)


@case
def a_slow_reader_gets_everything(options):
    with channel(options) as opened:
        replies = stub(opened).Count(demo_pb2.CountRequest(to=100, reply_bytes=64 << 10), timeout=25)
        numbers = []
        for reply in replies:
            if reply.number % 10 == 0:
                time.sleep(0.02)
            equal(len(reply.data), 64 << 10)
            numbers.append(reply.number)
        equal(numbers, list(range(1, 101)))


@case
def a_stalled_stream_does_not_stall_others(options):
    with channel(options) as opened:
        stalled = stub(opened).Count(demo_pb2.CountRequest(to=2000, reply_bytes=64 << 10))
        equal(next(stalled).number, 1)
        # Nobody reads `stalled` now; another connection shares the gateway and the tunnel with it.
        with channel(options) as other:
            for index in range(20):
                began = time.monotonic()
                equal(stub(other).Say(demo_pb2.SayRequest(text="x"), timeout=5).text, "x")
                check(time.monotonic() - began < 1, "a small call beside a stalled one takes less than a second")
        stalled.cancel()


@case
def health(options):
    with channel(options) as opened:
        checker = health_pb2_grpc.HealthStub(opened)
        reply = checker.Check(health_pb2.HealthCheckRequest(service="causeway.demo.v1.Chat"), timeout=10)
        equal(reply.status, health_pb2.HealthCheckResponse.SERVING)


@case
def reflection(options):
    with channel(options) as opened:
        reflect = reflection_pb2_grpc.ServerReflectionStub(opened)
        ask = reflection_pb2.ServerReflectionRequest
        asked = iter([ask(list_services=""), ask(file_containing_symbol="causeway.demo.v1.Chat")])
        listed, described = list(reflect.ServerReflectionInfo(asked, timeout=10))
        names = [service.name for service in listed.list_services_response.service]
        check("causeway.demo.v1.Chat" in names, f"services: {names}")
        file = descriptor_pb2.FileDescriptorProto.FromString(
            described.file_descriptor_response.file_descriptor_proto[0])
        equal(file.package, "causeway.demo.v1")
        v1 = opened.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=ask.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        reply = next(v1(iter([ask(list_services="")]), timeout=10))
        check(reply.list_services_response.service, "version 1 answers too")


@case_at("local", "tunnel")
def forwarded_headers_are_the_gateways(options):
    with channel(options) as opened:
        spoofed = [("x-forwarded-for", "203.0.113.9"), ("x-real-ip", "203.0.113.9"), ("x-causeway-caller", "spiffe://evil/x")]
        reply = stub(opened).Say(demo_pb2.SayRequest(), metadata=spoofed, timeout=10)
        told = {name: value for name, value in reply.metadata.items() if "203.0.113.9" in value or "evil" in value}
        equal(told, {}, "what a client states about itself")


main()
