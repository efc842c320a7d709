/** Health and reflection, as gRPC's own tools ask for them. They tell nothing of spaces and need no token. */
import { type ServerDuplexStream, type ServerUnaryCall, type ServerWritableStream, status } from "@grpc/grpc-js";
import type { UntypedServiceImplementation, sendUnaryData } from "@grpc/grpc-js";
import { addressOf } from "#gateway/grpc/calls.ts";
import { FairPlaces } from "#platform/net/fair-places.ts";
import { FILES, HEALTH, REFLECTION, REFLECTION_ALPHA, describe } from "#gateway/grpc/schema.ts";

const SERVICES = [FILES, HEALTH, REFLECTION, REFLECTION_ALPHA];
/** Who watches the health of a service; who comes when there are so many takes the place of another. */
const HEALTH_WATCHERS_MAX = 256;

/** @param closing aborted when the hub takes no more work */
export function healthService(closing: AbortSignal): UntypedServiceImplementation {
  const watchers = new FairPlaces(HEALTH_WATCHERS_MAX);
  const known = new Set(["", ...SERVICES.map(({ name }) => name)]);
  const stateOf = (service: string): string =>
    known.has(service) ? (closing.aborted ? "NOT_SERVING" : "SERVING") : "SERVICE_UNKNOWN";
  return {
    Check(call: ServerUnaryCall<{ service: string }, object>, answer: sendUnaryData<object>): void {
      const state = stateOf(call.request.service);
      if (state === "SERVICE_UNKNOWN") answer({ code: status.NOT_FOUND, details: "no such service" });
      else answer(null, { status: state });
    },
    Watch(call: ServerWritableStream<{ service: string }, object>): void {
      const ended = new AbortController();
      const giveBack = watchers.take(addressOf(call), () => {
        ended.abort();
        call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "too many watch already" });
      });
      call.on("cancelled", () => {
        giveBack();
        ended.abort();
      });
      call.write({ status: stateOf(call.request.service) });
      const tell = (): void => {
        call.write({ status: stateOf(call.request.service) });
        call.end();
      };
      closing.addEventListener("abort", tell, { once: true, signal: ended.signal });
    },
  };
}

type ReflectionRequest = {
  readonly messageRequest?: string;
  readonly fileByFilename?: string;
  readonly fileContainingSymbol?: string;
};

export function reflectionService(): UntypedServiceImplementation {
  const files = SERVICES.map(describe);
  const none = (what: string): object => ({ errorResponse: { errorCode: status.NOT_FOUND, errorMessage: `no such ${what}` } });
  const found = (what: string, matches: (file: (typeof files)[number]) => boolean): object => {
    const file = files.find(matches);
    return file === undefined ? none(what) : { fileDescriptorResponse: { fileDescriptorProto: [file.bytes] } };
  };
  const answerTo = (request: ReflectionRequest): object => {
    switch (request.messageRequest) {
      case "listServices":
        return { listServicesResponse: { service: SERVICES.map(({ name }) => ({ name })) } };
      case "fileByFilename":
        return found("file", ({ file }) => file === request.fileByFilename);
      case "fileContainingSymbol":
        return found("symbol", ({ symbols }) => symbols.has(request.fileContainingSymbol ?? ""));
      // There are no extensions in version 3 of the language.
      default:
        return none("extension");
    }
  };
  return {
    ServerReflectionInfo(call: ServerDuplexStream<ReflectionRequest, object>): void {
      call.on("data", (request: ReflectionRequest) => {
        if (call.write({ originalRequest: request, ...answerTo(request) })) return;
        call.pause();
        call.once("drain", () => call.resume());
      });
      call.on("end", () => call.end());
    },
  };
}
