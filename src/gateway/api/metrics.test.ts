import { expect, test } from "bun:test";
import { Metrics } from "#gateway/api/metrics.ts";

test("the text is what Prometheus reads: buckets add up, labels are escaped", async () => {
  const metrics = new Metrics();
  const seconds = metrics.histogram("t_seconds", "Time");
  seconds.observe(0.002, { route: 'a"\\\n' });
  seconds.observe(100, { route: 'a"\\\n' });
  metrics.counter("t_total", "Things").add(2);
  metrics.ask("t_now", "gauge", "Now", () => [{ value: 7 }]);
  metrics.ask("t_broken", "gauge", "Never", () => Promise.reject(new Error("no")));
  const text = await metrics.text();
  expect(text).toContain('t_seconds_bucket{route="a\\"\\\\\\n",le="0.0025"} 1');
  expect(text).toContain('t_seconds_bucket{route="a\\"\\\\\\n",le="60"} 1');
  expect(text).toContain('le="+Inf"} 2');
  expect(text).toContain("t_total 2");
  expect(text).toContain("t_now 7");
  expect(text).not.toContain("t_broken");
  for (const line of text.trimEnd().split("\n")) expect(line).toMatch(/^(# (HELP|TYPE) |\w+(\{.*\})? [\d.e+-]+$)/);
});

test("series beyond the limit are counted together", async () => {
  const metrics = new Metrics();
  const counter = metrics.counter("t_total", "Things");
  for (let at = 0; at < 1000; at++) counter.add(1, { name: String(at) });
  const text = await metrics.text();
  expect(text).toContain('t_total{name="other"} 500');
});
