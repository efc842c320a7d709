import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { Fields, PACKET_BYTES_MAX, PacketSplitter, PacketWriter } from "#platform/net/sftp-wire.ts";
import { readRequest } from "#gateway/sftp/packets.ts";

const whole = (body: Uint8Array): Uint8Array => {
  const packet = new Uint8Array(4 + body.length);
  new DataView(packet.buffer).setUint32(0, body.length);
  packet.set(body, 4);
  return packet;
};

function codeOf(work: () => void): string {
  try {
    work();
    return "ok";
  } catch (error) {
    return error instanceof SynclineError ? error.code : String(error);
  }
}

describe("packets", () => {
  test("[SFTP-1] a stream is cut into the same packets wherever it is split", () => {
    const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 12 });
    fc.assert(
      fc.property(bodies, fc.array(fc.nat(40), { maxLength: 200 }), (all, steps) => {
        const stream = Buffer.concat(all.map(whole));
        const found: string[] = [];
        const splitter = new PacketSplitter();
        let at = 0;
        for (const step of [...steps, stream.length]) {
          splitter.push(stream.subarray(at, at + step), (packet) => found.push(Buffer.from(packet).toString("hex")));
          at = Math.min(stream.length, at + step);
        }
        expect(found).toEqual(all.map((body) => Buffer.from(body).toString("hex")));
      }),
    );
  });

  test("[SFTP-2] a length that no packet has ends the stream before anything is kept for it", () => {
    for (const length of [0, PACKET_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
      const head = new Uint8Array(4);
      new DataView(head.buffer).setUint32(0, length);
      expect(codeOf(() => new PacketSplitter().push(head, () => undefined))).toBe("PROTOCOL");
    }
  });

  test("[SFTP-3] whatever a packet holds, it comes to a request, or to one that is malformed", () => {
    const kinds = fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 99, 200, 255);
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 200 }), (kind, body) => {
        const packet = new Uint8Array([kind, ...body]);
        const code = codeOf(() => expect(typeof readRequest(packet).type).toBe("string"));
        expect(code).toBe(packet.length < 5 ? "PROTOCOL" : "ok");
      }),
      { numRuns: 2_000 },
    );
  });

  test("[SFTP-7] what is cut off anywhere is malformed, and its number is known for the answer", () => {
    const attrs = { size: 5, owner: { uid: 1, gid: 2 }, mode: 0o644, mtimeSeconds: 7 };
    const open = new PacketWriter(3, 77).name("/a/b").uint32(2).attrs(attrs).finish().subarray(4);
    expect(readRequest(open)).toEqual({ type: "open", id: 77, path: "/a/b", flags: 2, attrs });
    for (let length = 5; length < open.length; length++) {
      expect(readRequest(open.slice(0, length))).toEqual({ type: "other", id: 77, isMalformed: true });
    }
  });

  test("[SFTP-4] positions beyond what is exact, and names beyond all bounds, are malformed", () => {
    const far = new PacketWriter(5, 1).text("0").uint32(0x00200000).uint32(0).uint32(10).finish().subarray(4);
    expect(readRequest(far)).toEqual({ type: "other", id: 1, isMalformed: true });
    const long = new PacketWriter(17, 2).text("x".repeat(20_000)).finish().subarray(4);
    expect(readRequest(long)).toEqual({ type: "other", id: 2, isMalformed: true });
  });

  test("[SFTP-5] names of any bytes come back as they were", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (name) => {
        const path = new Fields(new PacketWriter(0, undefined).bytes(name).finish(), 5).path();
        const back = new PacketWriter(0, undefined).name(path).finish().subarray(9);
        expect(Buffer.from(back).toString("hex")).toBe(Buffer.from(name).toString("hex"));
      }),
    );
  });
});
