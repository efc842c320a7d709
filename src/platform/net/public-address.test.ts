import { expect, test } from "bun:test";
import { isPublicAddress } from "#platform/net/public-address.ts";

test("[ADDR-1] only addresses of the public internet are public", () => {
  for (const address of ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "192.167.1.1", "2606:4700::1111", "2a00:1450::1"])
    expect([address, isPublicAddress(address)]).toEqual([address, true]);
  const others = ["0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.1.2", "169.254.169.254", "172.16.0.1", "172.31.255.255"];
  others.push("192.168.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1");
  others.push("ff02::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "", "x", "1.2.3", "999.1.1.1");
  for (const address of others) expect([address, isPublicAddress(address)]).toEqual([address, false]);
});
