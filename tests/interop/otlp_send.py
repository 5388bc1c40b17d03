"""Sends one span over each form of OTLP: shows that the receiver hears both."""

import gzip
import sys
import urllib.request

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc


def request(name):
    made = service.ExportTraceServiceRequest()
    span = made.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name, span.kind = bytes(range(16)), bytes(range(8)), name, 2
    attribute = span.attributes.add()
    attribute.key, attribute.value.string_value = "http.request.method", "GET"
    return made


over_grpc, over_http = sys.argv[1:3]
with grpc.insecure_channel(over_grpc) as channel:
    service_grpc.TraceServiceStub(channel).Export(request("over gRPC"), timeout=10)
body = gzip.compress(request("over HTTP").SerializeToString())
headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
urllib.request.urlopen(urllib.request.Request(f"http://{over_http}/v1/traces", body, headers), timeout=10)
