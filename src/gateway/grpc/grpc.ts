/** The gRPC door: FileService of files.proto, with the standard services for health and reflection. */
import { stackOf } from "#model/error.ts";
import { newTraceId } from "#platform/trace-id.ts";
import type { Door, DoorParts } from "#gateway/door.ts";
import { fileService } from "#gateway/grpc/file-service.ts";
import { FILES, HEALTH, REFLECTION, REFLECTION_ALPHA, serviceOf } from "#gateway/grpc/schema.ts";
import { healthService, reflectionService } from "#gateway/grpc/standard-services.ts";
import { listenGrpc } from "#platform/net/grpc-listener.ts";
import { addressText } from "#platform/net/address-text.ts";

const CONNECTIONS_MAX = 2_000;
const CONNECTIONS_OF_ADDRESS_MAX = 500;
/** Calls at once on one connection. */
const STREAMS_MAX = 100;
/** Of one message, in and out. */
const MESSAGE_BYTES_MAX = 4 << 20;
const IDLE_MS = 600_000;

/** @throws the system's error when the address cannot be used */
export async function openGrpc(parts: DoorParts, isSecure: boolean): Promise<Door> {
  const { host, listen, metrics, log, closing, spaces, access } = parts;
  const listener = await listenGrpc({
    host: listen.host,
    port: listen.port,
    tls: isSecure ? parts.identity() : undefined,
    connectionsMax: CONNECTIONS_MAX,
    connectionsOfAddressMax: CONNECTIONS_OF_ADDRESS_MAX,
    streamsMax: STREAMS_MAX,
    messageBytesMax: MESSAGE_BYTES_MAX,
    idleMs: IDLE_MS,
  });
  const bytes = metrics.counter("syncline_grpc_bytes_total", "Bytes of files moved over gRPC");
  metrics.ask("syncline_grpc_connections", "gauge", "Connections to the gRPC door", () => [{ value: listener.connections }]);
  const { server } = listener;
  const files = fileService({
    spaces,
    access,
    clock: host.clock,
    closing,
    newTraceId: () => newTraceId(host.random),
    count: (direction, count) => bytes.add(count, { direction }),
    onFault: (error) => log.error("grpc failed", { error: stackOf(error) }),
  });
  server.addService(serviceOf(FILES), files);
  server.addService(serviceOf(HEALTH), healthService(closing));
  for (const declared of [REFLECTION, REFLECTION_ALPHA]) server.addService(serviceOf(declared), reflectionService());
  return {
    url: `${isSecure ? "grpcs" : "grpc"}://${addressText(listen.host, listener.port)}`,
    useIdentity: (identity) => listener.useIdentity(identity),
    close: (graceMs) => listener.stop(graceMs),
  };
}
