/** The part of ssh2 that the SSH listener uses; the package has no types of its own. */
declare module "ssh2" {
  import type { Duplex, Readable, Writable } from "node:stream";
  import type { EventEmitter } from "node:events";

  export interface ServerChannel extends Duplex {
    readonly stderr: Writable;
    exit(code: number): void;
    close(): void;
  }

  export interface AuthContext {
    readonly method: string;
    readonly username: string;
    readonly password?: string | { readonly oldPassword: string; readonly newPassword: string };
    readonly key?: { readonly algo: string; readonly data: Buffer };
    readonly hashAlgo?: string;
    readonly signature?: Buffer;
    readonly blob?: Buffer;
    accept(): void;
    reject(methodsLeft?: readonly string[]): void;
  }

  type Accept<T> = () => T | undefined;
  type Reject = (() => void) | undefined;

  export interface Session extends EventEmitter {
    on(event: "subsystem", listener: (accept: Accept<ServerChannel>, reject: Reject, info: { name: string }) => void): this;
    on(event: "exec", listener: (accept: Accept<ServerChannel>, reject: Reject, info: { command: string }) => void): this;
    on(event: "shell", listener: (accept: Accept<ServerChannel>, reject: Reject) => void): this;
    on(event: "pty" | "env", listener: (accept: Accept<void> | undefined, reject: Reject) => void): this;
    on(event: "close", listener: () => void): this;
  }

  export interface Connection extends EventEmitter {
    on(event: "authentication", listener: (context: AuthContext) => void): this;
    on(event: "session", listener: (accept: Accept<Session>, reject: () => void) => void): this;
    on(event: "ready" | "close" | "end", listener: () => void): this;
    on(event: "error", listener: (error: Error) => void): this;
    end(): void;
  }

  export interface ServerConfig {
    readonly hostKeys: readonly string[];
    readonly ident: string;
    readonly keepaliveInterval: number;
    readonly keepaliveCountMax: number;
    readonly algorithms: Readonly<Record<"kex" | "cipher" | "hmac" | "compress", readonly string[]>>;
  }

  export class Server extends EventEmitter {
    constructor(config: ServerConfig, onConnection: (connection: Connection, from: { ip: string; port: number }) => void);
    injectSocket(socket: unknown): void;
  }

  export class Client extends EventEmitter {
    connect(config: {
      readonly host: string;
      readonly port: number;
      readonly username: string;
      readonly password?: string;
      readonly privateKey?: string;
      readonly algorithms?: Readonly<Record<string, readonly string[]>>;
    }): this;
    subsys(name: string, opened: (error: Error | undefined, channel: Duplex) => void): this;
    shell(opened: (error: Error | undefined, channel: Duplex & { readonly stderr: Readable }) => void): this;
    exec(command: string, opened: (error: Error | undefined, channel: Duplex & { readonly stderr: Readable }) => void): this;
    forwardOut(
      fromHost: string,
      fromPort: number,
      toHost: string,
      toPort: number,
      opened: (error: Error | undefined, channel: Duplex) => void,
    ): this;
    forwardIn(host: string, port: number, opened: (error: Error | undefined) => void): this;
    end(): this;
    destroy(): this;
  }

  const ssh2: {
    readonly Client: typeof Client;
    readonly Server: typeof Server;
    readonly utils: {
      /** Keys in OpenSSH's own format, and the line of authorized_keys. */
      /** An Error for what is no key, or one with a passphrase. */
      parseKey(text: string): unknown;
      generateKeyPairSync(type: string, options?: { readonly bits: number }): { private: string; public: string };
    };
  };
  export default ssh2;
}
