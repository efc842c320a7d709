/** Cross-origin requests of browsers: rules of a bucket, what answers say by them, and the question before a request. */
import { CORS, type BucketSettings } from "#gateway/s3/bucket-settings.ts";
import { type Header, type S3Call, answer, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { S3Request } from "#gateway/s3/s3-request.ts";
import { type XmlElement, childrenOf, element, malformedXml, textOf } from "#gateway/s3/xml.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

const RULES_MAX = 100;
const TEXT_CHARS_MAX = 64 << 10;
const METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD"];

export type CorsRule = {
  readonly id?: string | undefined;
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly exposed: readonly string[];
  readonly maxAge?: number | undefined;
};

const textsIn = (rule: XmlElement, name: string): string[] => childrenOf(rule, name).map(({ text }) => text.trim());

function ruleOf(rule: XmlElement): CorsRule {
  const maxAge = textOf(rule, "MaxAgeSeconds");
  const made = {
    id: textOf(rule, "ID"),
    origins: textsIn(rule, "AllowedOrigin"),
    methods: textsIn(rule, "AllowedMethod"),
    headers: textsIn(rule, "AllowedHeader"),
    exposed: textsIn(rule, "ExposeHeader"),
    maxAge: maxAge === undefined ? undefined : Number(maxAge),
  };
  const wild = [...made.origins, ...made.headers];
  const isRight =
    made.origins.length > 0 && made.methods.length > 0 && made.methods.every((method) => METHODS.includes(method)) &&
    wild.every((text) => text.split("*").length <= 2) && !made.exposed.some((name) => !/^[\w-]+$/.test(name)) &&
    wild.every((text) => /^[\x21-\x7e]+$/.test(text)) && (made.maxAge === undefined || Number.isInteger(made.maxAge));
  if (!isRight) throw malformedXml("a rule needs origins and methods, and has one * in a text at most");
  return made;
}

export async function putBucketCors(call: S3Call): Promise<Http1Answer> {
  const rules = childrenOf(await xmlBody(call, "CORSConfiguration"), "CORSRule").map(ruleOf);
  if (rules.length === 0 || rules.length > RULES_MAX) throw malformedXml(`there are from 1 to ${RULES_MAX} rules`);
  const text = JSON.stringify(rules);
  if (text.length > TEXT_CHARS_MAX) throw malformedXml("the rules are too long");
  await call.services.settings.set(call, CORS, text);
  return answer(200);
}

export async function bucketCors(call: S3Call): Promise<Http1Answer> {
  const text = await call.services.settings.get(call, CORS);
  if (text === undefined) throw new S3Error("NoSuchCORSConfiguration", "the bucket has no rules for other origins");
  const all = (name: string, texts: readonly string[]): string => texts.map((one) => element(name, one)).join("");
  const rules = (JSON.parse(text) as CorsRule[]).map(
    (rule) =>
      `<CORSRule>${element("ID", rule.id)}${all("AllowedOrigin", rule.origins)}${all("AllowedMethod", rule.methods)}` +
      `${all("AllowedHeader", rule.headers)}${all("ExposeHeader", rule.exposed)}${element("MaxAgeSeconds", rule.maxAge)}</CORSRule>`,
  );
  return xmlAnswer("CORSConfiguration", rules.join(""));
}

export async function deleteBucketCors(call: S3Call): Promise<Http1Answer> {
  await call.services.settings.set(call, CORS, undefined);
  return answer(204);
}

/** A pattern has one "*" at most. */
function fits(pattern: string, text: string): boolean {
  const star = pattern.indexOf("*");
  if (star < 0) return pattern === text;
  const [head, tail] = [pattern.slice(0, star), pattern.slice(star + 1)];
  return text.length >= head.length + tail.length && text.startsWith(head) && text.endsWith(tail);
}

/** The first rule that allows it. @param asked names of headers, lower case */
function ruleFor(rules: readonly CorsRule[], origin: string, method: string, asked: readonly string[]): CorsRule | undefined {
  const allowsHeader = (rule: CorsRule, name: string): boolean => rule.headers.some((pattern) => fits(pattern.toLowerCase(), name));
  return rules.find(
    (rule) =>
      rule.origins.some((pattern) => fits(pattern, origin)) && rule.methods.includes(method) &&
      asked.every((name) => allowsHeader(rule, name)),
  );
}

function headersBy(rule: CorsRule, origin: string): Header[] {
  const isAny = rule.origins.includes("*");
  const headers: Header[] = [
    ["access-control-allow-origin", isAny ? "*" : origin],
    ["access-control-allow-methods", rule.methods.join(", ")],
    ["vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"],
  ];
  if (!isAny) headers.push(["access-control-allow-credentials", "true"]);
  if (rule.exposed.length > 0) headers.push(["access-control-expose-headers", rule.exposed.join(", ")]);
  return headers;
}

async function rulesOf(settings: BucketSettings, bucket: string): Promise<CorsRule[]> {
  const text = bucket === "" ? undefined : (await settings.recent(bucket))[CORS];
  return text === undefined ? [] : (JSON.parse(text) as CorsRule[]);
}

/** What an answer says to a page of another origin; nothing where no rule allows it. */
export async function corsHeaders(settings: BucketSettings, { headers, bucket, method }: S3Request): Promise<Header[]> {
  const origin = headers.get("origin");
  if (origin === undefined) return [];
  const rule = ruleFor(await rulesOf(settings, bucket), origin, method, []);
  return rule === undefined ? [] : headersBy(rule, origin);
}

/** The question that a browser asks before a request. Nobody signs it. @throws {S3Error} AccessDenied */
export async function preflight(settings: BucketSettings, { headers, bucket }: S3Request): Promise<Http1Answer> {
  const origin = headers.get("origin");
  const method = headers.get("access-control-request-method");
  if (origin === undefined || method === undefined) {
    throw new S3Error("InvalidRequest", "Origin and Access-Control-Request-Method are needed");
  }
  const names = (headers.get("access-control-request-headers") ?? "").toLowerCase().split(",").map((name) => name.trim());
  const asked = names.filter((name) => name !== "");
  const rule = ruleFor(await rulesOf(settings, bucket), origin, method, asked);
  if (rule === undefined) throw new S3Error("AccessDenied", "no rule of the bucket allows this");
  const more: Header[] = asked.length === 0 ? [] : [["access-control-allow-headers", asked.join(", ")]];
  const age: Header[] = rule.maxAge === undefined ? [] : [["access-control-max-age", String(rule.maxAge)]];
  return answer(200, [...headersBy(rule, origin), ...more, ...age]);
}
