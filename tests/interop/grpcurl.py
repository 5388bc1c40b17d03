"""What `grpcurl -plaintext -d JSON ADDRESS SERVICE/METHOD` does, where that program is not: reflection, then the call."""

import json
import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

plaintext, data, text, address, full_name = sys.argv[1:]
assert (plaintext, data) == ("-plaintext", "-d"), sys.argv
service, method_name = full_name.split("/")

with grpc.insecure_channel(address) as channel:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(service).FindMethodByName(method_name)
    request, reply = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    assert not method.client_streaming, "not needed here"
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = kind(f"/{full_name}", request.SerializeToString, reply.FromString)
    answer = call(json_format.ParseDict(json.loads(text), request()), timeout=10)
    for message in answer if method.server_streaming else [answer]:
        print(json_format.MessageToJson(message), flush=True)
