import * as nfs from "node:fs";
import { Mux } from "#sync/wire/mux.ts";
import { connectTls, listenTls } from "#platform/net/tls-socket.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import { Fixture, noise, host, fileEntry, SEEDS } from "#sync/transfer/transfer-fixture.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import { receiveFiles } from "#sync/transfer/receive.ts";
import { Confined } from "#platform/confined.ts";
const cpu=()=>{const c=process.cpuUsage();return `${(c.user/1000).toFixed(0)}/${(c.system/1000).toFixed(0)}`};
if (process.argv[2] === "supply") {
  const root = new Confined(host.fs, host.fs.openRoot(process.argv[3]!));
  const id = makeCertificate(["localhost"], Date.now());
  const l = listenTls({ host: "127.0.0.1", port: 0, identity: id as any, clientAuthorities: undefined, onConnection: () => true,
    onHandshake: (_a, t) => { if (t instanceof Error) throw t; new Mux(t, { role: "server", clock: host.clock, onOpen: (ch: any) => {
      supplyFiles({ host, root, seeds: SEEDS, compress: "auto", limit: () => undefined, entryOf: (_, s) => fileEntry(s) }, ch, new AbortController().signal).then(() => {console.error("  supply cpu", cpu());});
    } }); } });
  console.log(l.port);
} else {
  const f = new Fixture(); const MB = 1 << 20; const n = Number(process.argv[2] ?? 256) * MB;
  const child = Bun.spawn([process.execPath, import.meta.path, "supply", f.source], { stdout: "pipe", stderr: "inherit" });
  const rd=child.stdout.getReader();const port = Number(new TextDecoder().decode((await rd.read()).value));
  const { transport } = await connectTls({ host: "127.0.0.1", port, authorities: undefined, identity: undefined } as any, new AbortController().signal);
  const mux = new Mux(transport, { role: "client", clock: host.clock });
  const run = async (name: string, oldB: Uint8Array | undefined, newB: Uint8Array) => {
    f.write("source", "x", newB); nfs.rmSync(f.target + "/x", { force: true }); if (oldB) f.write("target", "x", oldB); nfs.rmSync(f.stagePath + "/x", { force: true });
    require("child_process").execSync("sync");
    const w0 = mux.wireBytes, c0 = process.cpuUsage(), t = performance.now();
    const ch = mux.open("supply") as any; let res: any;
    await receiveFiles(f.receiveContext, ch, [{ path: "x", entry: fileEntry(f.sourceRoot.stat("x")) }], r => res = r, new AbortController().signal);
    const ms = performance.now() - t, c = process.cpuUsage(c0), w = mux.wireBytes;
    console.log(name, ms.toFixed(0) + "ms recv cpu", (c.user / 1000).toFixed(0) + "/" + (c.system / 1000).toFixed(0), "wire", w.sent - w0.sent, w.received - w0.received, res.problem ?? "", Buffer.compare(f.staged("x"), newB) === 0);
  };
  const base = noise(n, 7);
  await run("first", undefined, base); await run("first", undefined, base);
  await run("same", base, base);
  { const e = base.slice(); let s=12345; for (let i = 0; i < 1000; i++) { s=(s*1103515245+12345)>>>0; const at = Math.floor(s/2**32 * (n - 16)); for (let k = 0; k < 16; k++) e[at + k] ^= 0x55 } await run("1000 edits", base, e); await run("1000 edits", base, e); }
  { const e = new Uint8Array(n + 100); e.set(noise(100, 3)); e.set(base, 100); await run("insert front", base, e); }
  child.kill(); f[Symbol.dispose](); process.exit(0);
}
