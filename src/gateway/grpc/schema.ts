/** The services as their proto files declare them: how messages are written, and what reflection tells of them. */
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import descriptor from "protobufjs/ext/descriptor/index.js";
import healthText from "../../../proto/grpc/health/v1/health.proto" with { type: "text" };
import reflectionText from "../../../proto/grpc/reflection/v1/reflection.proto" with { type: "text" };
import filesText from "../../../proto/syncline/v1/files.proto" with { type: "text" };

export const FILES = { name: "syncline.v1.FileService", text: filesText };
export const HEALTH = { name: "grpc.health.v1.Health", text: healthText };
export const REFLECTION = { name: "grpc.reflection.v1.ServerReflection", text: reflectionText };
/** What older tools ask for. */
export const REFLECTION_ALPHA = {
  name: "grpc.reflection.v1alpha.ServerReflection",
  text: reflectionText.replace("package grpc.reflection.v1;", "package grpc.reflection.v1alpha;"),
};

export type Declared = { readonly name: string; readonly text: string };

/** 64-bit numbers as text, because they may be larger than what is exact; names of enums; what is lacking as its default. */
const READING = { longs: String, enums: String, defaults: true, oneofs: true } as const;

/** A service in the form that the server takes. */
export function serviceOf({ name, text }: Declared): ServiceDefinition<UntypedServiceImplementation> {
  const { root } = protobuf.parse(text);
  root.resolveAll();
  const service = root.lookupService(name);
  return Object.fromEntries(service.methodsArray.map((method) => [method.name, methodOf(name, method)]));
}

function methodOf(service: string, method: protobuf.Method): MethodDefinition<object, object> {
  const [asked, answered] = [method.resolvedRequestType!, method.resolvedResponseType!];
  const write = (type: protobuf.Type) => (value: object) => Buffer.from(type.encode(type.fromObject(value)).finish());
  const read = (type: protobuf.Type) => (bytes: Buffer) => type.toObject(type.decode(bytes), READING) as object;
  return {
    path: `/${service}/${method.name}`,
    requestStream: method.requestStream ?? false,
    responseStream: method.responseStream ?? false,
    requestSerialize: write(asked),
    requestDeserialize: read(asked),
    responseSerialize: write(answered),
    responseDeserialize: read(answered),
    originalName: method.name,
  };
}

export type Described = {
  readonly file: string;
  /** FileDescriptorProto. */
  readonly bytes: Uint8Array;
  /** Full names of everything that it declares: services, their methods, messages, enums. */
  readonly symbols: ReadonlySet<string>;
};

/** A proto file as other languages know it. None of ours imports another. */
export function describe({ text }: Declared): Described {
  const { root } = protobuf.parse(text, { keepCase: true });
  root.resolveAll();
  const [file] = (root as protobuf.Root & { toDescriptor(edition: string): { file: DescribedFile[] } }).toDescriptor("proto3").file;
  const symbols = new Set<string>();
  collect(root, symbols);
  return { file: file!.name ?? "", bytes: descriptor.FileDescriptorProto.encode(file as never).finish(), symbols };
}

type DescribedFile = { readonly name?: string };

function collect(object: protobuf.ReflectionObject, into: Set<string>): void {
  const isNamed = object instanceof protobuf.Type || object instanceof protobuf.Service || object instanceof protobuf.Enum;
  if (isNamed) into.add(object.fullName.replace(/^\./, ""));
  if (object instanceof protobuf.Service) for (const { fullName } of object.methodsArray) into.add(fullName.replace(/^\./, ""));
  if (object instanceof protobuf.Namespace) for (const nested of object.nestedArray) collect(nested, into);
}
