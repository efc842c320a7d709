import { Fixture, noise } from "#sync/transfer/transfer-fixture.ts";
const f=new Fixture();
const MB=1<<20;
async function run(name:string,oldB:Uint8Array|undefined,newB:Uint8Array){
  f.write("source","x",newB); if(oldB)f.write("target","x",oldB); else {try{require("fs").unlinkSync(f.target+"/x")}catch{}}
  try{require("fs").unlinkSync(f.stagePath+"/x")}catch{}
  f.traffic.forth=0;f.traffic.back=0;
  const c0=process.cpuUsage();const s=performance.now();const r=await f.transfer(["x"]);const ms=performance.now()-s;const c=process.cpuUsage(c0);
  const got=f.staged("x");const ok=Buffer.compare(got,newB)===0;
  console.log(name,ok,ms.toFixed(0)+"ms","cpu u/s "+(c.user/1000).toFixed(0)+"/"+(c.system/1000).toFixed(0), JSON.stringify(f.traffic),r.get("x")?.problem??"",r.get("x")?.literalBytes,r.get("x")?.reusedBytes);
}
const n=Number(process.argv[2]??64)*MB;
const base=noise(n,7);
await run("first",undefined,base);
await run("first again",undefined,base);
await run("same",base,base);await run("same",base,base);
const edited=base.slice();for(let i=0;i<1000;i++){const at=Math.floor(Math.random()*(n-16));for(let k=0;k<16;k++)edited[at+k]^=0x55}
await run("1000 edits",base,edited);
const ins=new Uint8Array(n+100);ins.set(noise(100,3));ins.set(base,100);
await run("insert front",base,ins);
const mid=new Uint8Array(n+100);mid.set(base.subarray(0,n/2+777));mid.set(noise(100,3),n/2+777);mid.set(base.subarray(n/2+777),n/2+877);
await run("insert mid",base,mid);
await run("append",base.subarray(0,n-300000),base);
await run("truncate",base,base.subarray(0,n-300000));
await run("different",noise(n,99),base);
const del=new Uint8Array(n-5*MB);del.set(base.subarray(0,3*MB+5));del.set(base.subarray(8*MB+5),3*MB+5);
await run("delete 5MB",base,del);
f[Symbol.dispose]();
