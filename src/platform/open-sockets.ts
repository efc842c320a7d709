/** Which connections a process has open, as only the system knows: the runtime's HTTP server does not say. */
export interface OpenSockets {
  /** Files and sockets that the process may have open at a time. */
  readonly filesMax: number;
  /** Files and sockets that it has open now. Costs about 0.2 µs for each. */
  files(): number;
  /** TCP connections that were accepted at a port of this host. Costs a few µs for each open file of the process. */
  acceptedAt(port: number): AcceptedSocket[];
  /** Ends a connection as if its other end had. One that has ended by itself meanwhile is none of ours: call at once. */
  cut(socket: AcceptedSocket): void;
}

export type AcceptedSocket = {
  readonly fd: number;
  /** Address and port of the other end, as peerText() writes them. */
  readonly peer: string;
  /** Since anything went in either direction. */
  readonly idleMs: number;
};

export const peerText = (address: string, port: number): string => `${address} ${port}`;
