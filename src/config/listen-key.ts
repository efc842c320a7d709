/** What every key that holds the address of a listener has in common. */
export const LISTEN = {
  type: "text",
  pattern: /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):\d{1,5}$/,
  value: "HOST:PORT",
} as const;
