/** From a fresh transport to a mux: the prelude as each side goes through it. */
import type { Clock } from "#platform/host.ts";
import type { Transport } from "#platform/net/transport.ts";
import { SynclineError } from "#model/error.ts";
import { OWN_ABILITIES } from "#sync/wire/abilities.ts";
import { Mux, type MuxOptions } from "#sync/wire/mux.ts";
import {
  type Attach,
  type Attached,
  type Greeting,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  Prelude,
  TOKEN_BYTES_MAX,
  encodeAnswer,
  greet,
  receiveAttach,
  sendAttach,
} from "#sync/wire/prelude.ts";

export function ownGreeting(program: string): Greeting {
  return {
    versionMin: PROTOCOL_VERSION_MIN,
    versionMax: PROTOCOL_VERSION_MAX,
    program,
    capabilities: OWN_ABILITIES,
  };
}

export type ClientGreeting = {
  /** Name of a served root with an optional "/sub/path", or an absolute path for a remote agent. */
  readonly root: string;
  /** "" where the transport itself has authenticated us. */
  readonly token: string;
  readonly program: string;
  readonly clock: Clock;
};

/**
 * The client's side. Owns the transport from here: it is closed when this rejects.
 * @throws {SynclineError} the server's refusal (AUTH, ROOT_UNKNOWN, ROOT_READ_ONLY, …), VERSION, PROTOCOL, LINK_LOST
 */
export async function startClient(
  transport: Transport,
  options: ClientGreeting,
  signal: AbortSignal,
): Promise<{ mux: Mux; attached: Attached }> {
  const prelude = new Prelude(transport, options.clock, signal);
  try {
    const { other } = await greet(prelude, ownGreeting(options.program));
    const attached = await sendAttach(prelude, { root: options.root, token: options.token });
    const firstBytes = prelude.finish();
    const abilities = new Set(other.capabilities);
    return { mux: new Mux(transport, { role: "client", clock: options.clock, firstBytes, abilities }), attached };
  } catch (error) {
    prelude.fail(new Error("the prelude has failed"));
    transport.close();
    throw error;
  }
}

export type ServerGreeting<T> = {
  readonly program: string;
  readonly clock: Clock;
  /** Judges the client. Throws the SynclineError that the client is told. */
  admit(attach: Attach, signal: AbortSignal): Promise<Attached & { readonly value: T }>;
};

/**
 * The server's side. Owns the transport from here: it is closed when this rejects, after the client was told why.
 * `calls` makes the handler of channels from what admit() returned.
 */
export async function startServer<T>(
  transport: Transport,
  options: ServerGreeting<T>,
  calls: (value: T) => NonNullable<MuxOptions["onOpen"]>,
  signal: AbortSignal,
): Promise<{ mux: Mux; value: T }> {
  const prelude = new Prelude(transport, options.clock, signal);
  let greeted = false;
  try {
    await greet(prelude, ownGreeting(options.program));
    greeted = true;
    const attach = await receiveAttach(prelude);
    if (Buffer.byteLength(attach.token) > TOKEN_BYTES_MAX) {
      throw new SynclineError({ code: "AUTH", op: "attach", message: "the token is too long" });
    }
    const { value, readOnly } = await options.admit(attach, signal);
    const firstBytes = prelude.finish();
    prelude.write(encodeAnswer({ readOnly }));
    const mux = new Mux(transport, { role: "server", clock: options.clock, firstBytes, onOpen: calls(value) });
    return { mux, value };
  } catch (error) {
    prelude.fail(new Error("the prelude has failed"));
    // A side that does not speak our protocol would not understand a refusal.
    if (greeted && error instanceof Error) transport.write(encodeAnswer(error));
    transport.close();
    throw error;
  }
}
