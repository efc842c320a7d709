"""A foreign client of the gRPC door: asks reflection for what there is, and uses all of FileService with that alone."""
import hashlib
import os
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

target, token, authority = sys.argv[1], sys.argv[2], sys.argv[3]
if authority == "-":
    channel = grpc.insecure_channel(target)
else:
    with open(authority, "rb") as file:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()))

# Reflection itself has to be known: a few fields of it.
meta = descriptor_pb2.FileDescriptorProto(name="meta.proto", package="grpc.reflection.v1alpha", syntax="proto3")


def message(name, *fields):
    made = meta.message_type.add(name=name)
    for field, number, kind, label, of in fields:
        made.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)


message("ServerReflectionRequest", ("file_containing_symbol", 4, 9, 1, ""), ("list_services", 7, 9, 1, ""))
message("FileDescriptorResponse", ("file_descriptor_proto", 1, 12, 3, ""))
message("ServiceResponse", ("name", 1, 9, 1, ""))
message("ListServiceResponse", ("service", 1, 11, 3, ".grpc.reflection.v1alpha.ServiceResponse"))
message(
    "ServerReflectionResponse",
    ("file_descriptor_response", 4, 11, 1, ".grpc.reflection.v1alpha.FileDescriptorResponse"),
    ("list_services_response", 6, 11, 1, ".grpc.reflection.v1alpha.ListServiceResponse"),
)
pool = descriptor_pool.DescriptorPool()
pool.Add(meta)
factory = message_factory.MessageFactory(pool)


def type_of(name):
    return factory.GetPrototype(pool.FindMessageTypeByName(name))


Ask = type_of("grpc.reflection.v1alpha.ServerReflectionRequest")
Told = type_of("grpc.reflection.v1alpha.ServerReflectionResponse")
reflect = channel.stream_stream(
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Ask.SerializeToString, Told.FromString
)
answers = list(
    reflect(iter([Ask(list_services="*"), Ask(file_containing_symbol="syncline.v1.FileService"),
                  Ask(file_containing_symbol="grpc.health.v1.Health")]), timeout=10)
)
services = sorted(one.name for one in answers[0].list_services_response.service)
assert "syncline.v1.FileService" in services and "grpc.health.v1.Health" in services, services
for answer in answers[1:]:
    for raw in answer.file_descriptor_response.file_descriptor_proto:
        pool.AddSerializedFile(raw)


def call(service, name, metadata=True, **options):
    method = pool.FindServiceByName(service).FindMethodByName(name)
    proto = descriptor_pb2.MethodDescriptorProto()
    method.CopyToProto(proto)
    kind = {(False, False): channel.unary_unary, (True, False): channel.stream_unary, (False, True): channel.unary_stream}[
        (proto.client_streaming, proto.server_streaming)
    ]
    made = kind(
        f"/{service}/{name}", type_of(method.input_type.full_name).SerializeToString,
        type_of(method.output_type.full_name).FromString,
    )
    sent = [("authorization", f"Bearer {token}")] if metadata else []
    return lambda request, timeout=30: made(request, timeout=timeout, metadata=sent)


T = lambda name: type_of(f"syncline.v1.{name}")
files = lambda name, **options: call("syncline.v1.FileService", name, **options)


def code_of(work):
    try:
        work()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def place(path, space="docs"):
    return T("Place")(space=space, path=path)


if sys.argv[4:] == ["die"]:

    def dying():
        yield T("UploadRequest")(header=T("UploadHeader")(place=place("g/killed", "docs"), make_parents=True))
        for _ in range(3):
            yield T("UploadRequest")(data=b"x" * 200000)
        time.sleep(0.3)
        os.kill(os.getpid(), 9)

    files("Upload")(dying())

health = type_of("grpc.health.v1.HealthCheckRequest")
assert call("grpc.health.v1.Health", "Check", metadata=False)(health()).status == 1
assert code_of(lambda: files("ListSpaces", metadata=False)(T("ListSpacesRequest")())) == "UNAUTHENTICATED"
assert [one.name for one in files("ListSpaces")(T("ListSpacesRequest")()).spaces] == ["docs", "site"]

# Watch from before, in another thread.
seen = []
watching = files("Watch")(T("WatchRequest")(space="docs", below="g"), timeout=120)
first = next(watching)


def watch():
    try:
        for told in watching:
            seen.extend((one.action, one.path) for one in told.changes)
    except grpc.RpcError:
        pass


thread = threading.Thread(target=watch, daemon=True)
thread.start()


def upload(path, data, piece=256 << 10, **header):
    def messages():
        yield T("UploadRequest")(header=T("UploadHeader")(place=place(path), make_parents=True, **header))
        for at in range(0, len(data), piece):
            yield T("UploadRequest")(data=data[at : at + piece])
        if "size" not in header:
            yield T("UploadRequest")(finish=True)

    return files("Upload")(messages())


small = b"hello"
entry = upload("g/small", small, mode=0o640, mtime_ns=1577934245123456789, size=5, sha256=hashlib.sha256(small).digest())
assert (entry.size, entry.mode, entry.mtime_ns) == (5, 0o640, 1577934245123456789), entry
large = os.urandom(50 << 20)
sequence = upload("g/large", large).sequence


def download(path, **request):
    told = list(files("Download")(T("DownloadRequest")(place=place(path), **request)))
    assert told[0].WhichOneof("part") == "entry"
    return told[0].entry, b"".join(one.data for one in told[1:]), any(one.not_modified for one in told)


found, data, _ = download("g/large")
assert data == large and found.sequence == sequence
assert download("g/large", offset=1000, length=70000)[1] == large[1000:71000]
assert download("g/large", offset=len(large))[1] == b""
assert download("g/large", unless_etag=found.etag)[2] and download("g/large", unless_etag=found.etag)[1] == b""
assert code_of(lambda: download("g/large", offset=len(large) + 1)) == "OUT_OF_RANGE"
assert code_of(lambda: download("g/large", if_sequence=1)) == "ABORTED"
assert code_of(lambda: download("g/none")) == "NOT_FOUND"

# What is not all, or is not what was said, changes nothing.
assert code_of(lambda: upload("g/x", small, size=6)) == "INVALID_ARGUMENT"
assert code_of(lambda: upload("g/x", small, size=4)) == "INVALID_ARGUMENT"
assert code_of(lambda: upload("g/x", small, sha256=hashlib.sha256(b"other").digest())) == "DATA_LOSS"
assert code_of(lambda: upload("../x", small)) == "INVALID_ARGUMENT"
assert code_of(lambda: files("Upload")(iter([T("UploadRequest")(data=b"x")]))) == "INVALID_ARGUMENT"
assert code_of(lambda: files("Upload")(iter([]))) == "INVALID_ARGUMENT"
header_only = [T("UploadRequest")(header=T("UploadHeader")(place=place("g/x"))), T("UploadRequest")(data=b"x")]
assert code_of(lambda: files("Upload")(iter(header_only))) == "INVALID_ARGUMENT"


def broken():
    yield T("UploadRequest")(header=T("UploadHeader")(place=place("g/x")))
    yield T("UploadRequest")(data=b"x" * 200000)
    raise RuntimeError("the client dies here")


assert code_of(lambda: files("Upload")(broken())) != "OK"


def late():
    yield T("UploadRequest")(header=T("UploadHeader")(place=place("g/x")))
    time.sleep(2)
    yield T("UploadRequest")(data=b"x")


assert code_of(lambda: files("Upload")(late(), timeout=1)) == "DEADLINE_EXCEEDED"
assert code_of(lambda: files("Stat")(T("StatRequest")(place=place("g/x")))) == "NOT_FOUND"

# A client that is killed in the middle of an upload leaves nothing, however often.
for number in range(5):
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, sys.argv[0], target, token, authority, "die"])
    os.waitpid(child, 0)
time.sleep(1)
assert code_of(lambda: files("Stat")(T("StatRequest")(place=place("g/killed")))) == "NOT_FOUND"

# Conditions.
assert code_of(lambda: upload("g/small", b"2", condition=T("Condition")(absent=True))) == "ALREADY_EXISTS"
assert code_of(lambda: upload("g/small", b"2", condition=T("Condition")(sequence=1 << 40))) == "ABORTED"
assert upload("g/small", b"2", condition=T("Condition")(sequence=entry.sequence)).size == 1
assert files("Stat")(T("StatRequest")(place=place("g/small"))).mode == 0o640
assert files("Stat")(T("StatRequest")(place=place("g/small"), at_sequence=entry.sequence)).size == 5

# Pages.
for number in range(7):
    upload(f"g/many/{number}", b"x")
names, page = [], b""
while True:
    told = files("List")(T("ListRequest")(below=place("g/many"), page_size=3, page_token=page))
    names += [one.path for one in told.entries]
    page = told.next_page_token
    if not page:
        break
assert names == [f"g/many/{number}" for number in range(7)], names
assert len(files("List")(T("ListRequest")(below=place("g"), recursive=True)).entries) == 10

# Move and remove.
move = lambda **more: files("Move")(T("MoveRequest")(**more))
assert move(**{"from": place("g/many")}, to_path="g/moved").action == "move"
assert code_of(lambda: move(**{"from": place("g/small")}, to_path="g/large")) == "ALREADY_EXISTS"
assert code_of(lambda: move(**{"from": place("g/none")}, to_path="g/y")) == "NOT_FOUND"
remove = lambda path, **more: files("Remove")(T("RemoveRequest")(place=place(path), **more))
assert code_of(lambda: remove("g/moved")) == "FAILED_PRECONDITION"
assert remove("g/moved", recursive=True).action == "remove"
assert code_of(lambda: remove("g/moved")) == "NOT_FOUND"
assert code_of(lambda: files("Stat")(T("StatRequest")(place=place("x", "nowhere")))) in ("NOT_FOUND", "PERMISSION_DENIED")

# A download that is given up halfway, and a message that is too large.
stream = files("Download")(T("DownloadRequest")(place=place("g/large")))
next(stream), next(stream)
stream.cancel()
assert code_of(lambda: upload("g/x", b"x" * (5 << 20), piece=5 << 20)) == "RESOURCE_EXHAUSTED"

end = time.time() + 20
while ("remove", "g/moved") not in seen and time.time() < end:
    time.sleep(0.05)
assert ("create", "g/small") in seen and ("replace", "g/small") in seen and ("move", "g/moved") in seen, seen
assert ("remove", "g/moved") in seen, seen
watching.cancel()
# The same from the beginning.
again = files("Watch")(T("WatchRequest")(space="docs", below="g", after_sequence=first.sequence), timeout=20)
told = []
for response in again:
    told.extend((one.action, one.path) for one in response.changes)
    if ("remove", "g/moved") in told:
        break
assert told == seen, (told, seen)
print("all is well")
