/** Hands bytes on between a client and a port of this host, and counts them, in both directions together. */
type Side = { other: Bun.Socket<Side> | undefined; waiting: Uint8Array[]; isEnded: boolean };

export class CountingRelay implements Disposable {
  bytes = 0;
  readonly #listener: Bun.TCPSocketListener<Side>;

  constructor(port: number) {
    const count = (bytes: Uint8Array): void => void (this.bytes += bytes.length);
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        async open(client) {
          client.data = { other: undefined, waiting: [], isEnded: false };
          const server = await Bun.connect<Side>({
            hostname: "127.0.0.1",
            port,
            data: { other: client, waiting: [], isEnded: false },
            socket: handlers(count),
          });
          const { waiting, isEnded } = client.data;
          client.data.other = server;
          for (const bytes of waiting.splice(0)) give(server, bytes);
          if (isEnded) server.end();
        },
        ...handlers(count),
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}

/** What does not fit waits for drain; how much that is does not matter here. */
function give(to: Bun.Socket<Side>, bytes: Uint8Array): void {
  const sent = to.data.waiting.length > 0 ? 0 : Math.max(0, to.write(bytes));
  if (sent < bytes.length) to.data.waiting.push(bytes.slice(sent));
}

function handlers(count: (bytes: Uint8Array) => void) {
  return {
    data(socket: Bun.Socket<Side>, bytes: Uint8Array): void {
      count(bytes);
      const { other, waiting } = socket.data;
      if (other === undefined) waiting.push(bytes.slice());
      else give(other, bytes);
    },
    drain(socket: Bun.Socket<Side>): void {
      for (const bytes of socket.data.waiting.splice(0)) give(socket, bytes);
    },
    close(socket: Bun.Socket<Side>): void {
      socket.data.isEnded = true;
      socket.data.other?.end();
    },
    error(): void {},
  };
}
