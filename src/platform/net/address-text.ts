/** "127.0.0.1:7830", "[::1]:7830": an IPv6 address stands in brackets, so that its colons are not taken for the port's. */
export function addressText(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
