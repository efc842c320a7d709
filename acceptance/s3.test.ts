/** S3 as people's own clients speak it, over HTTP and HTTPS, against the real program. */
import { describe, expect, test } from "bun:test";
import {
  CompleteMultipartUploadCommand, CopyObjectCommand, CreateMultipartUploadCommand, GetObjectCommand, ListObjectsV2Command,
  PutObjectCommand, S3Client, UploadPartCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { Client as MinioClient } from "minio";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { PROGRAM, World } from "./harness.ts";

const KEY = { accessKeyId: "ANNSKEY", secretAccessKey: "annssecret-0123456789abcdef0123456789" };
const BOOTSTRAP = `
spaces: [{name: site}]
users: [{name: ann, roles: [admin]}, {name: bob}]
s3Keys:
  - {user: ann, accessKey: ${KEY.accessKeyId}, secretKey: ${KEY.secretAccessKey}}
  - {user: bob, accessKey: BOBSKEY, secretKey: bobssecret-0123456789abcdef0123456789}
`;
const START_MS_MAX = 30_000;
const PART = 5 << 20;

type Door = { readonly world: World; readonly url: string; readonly host: string; readonly isSecure: boolean; readonly ca: string };

const SCHEMES = ["HTTP", "HTTPS"];
const PUBLIC = ["--s3-public-buckets", "site", "--s3-signature-v2", "on"];

/** Starts a hub with a plain listener, or with one of TLS. */
function served(work: (door: Door) => Promise<void>): (scheme: string) => Promise<void> {
  return async (scheme) => {
    await using world = new World();
    const isSecure = scheme === "HTTPS";
    const data = world.path("hub");
    const tls = isSecure ? ["--tls", "always"] : [];
    const listen = ["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", ...PUBLIC];
    const child = world.start([PROGRAM, "hub", "--data", data, ...listen, ...tls, "--bootstrap", world.write("boot.yaml", BOOTSTRAP), "--json"]);
    const line = await child.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
    const [url = ""] = (JSON.parse(line) as { doors: string[] }).doors;
    await work({ world, url, host: url.slice(url.indexOf("//") + 2), isSecure, ca: join(data, "ca.pem") });
  };
}

/** Runs a client to its end. @throws {Error} with what it said, when it fails */
async function run({ world, isSecure, ca }: Door, command: string[], more: Record<string, string> = {}): Promise<string> {
  const env = {
    PATH: "/usr/bin:/bin:/usr/sbin",
    AWS_ACCESS_KEY_ID: KEY.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey,
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
    ...(isSecure ? { AWS_CA_BUNDLE: ca } : {}),
    ...more,
  };
  const done = await world.command(command, { env });
  if (done.code !== 0) throw new Error(`${command.slice(0, 3).join(" ")} ended with ${done.code}:\n${done.out}\n${done.err}`);
  return done.out;
}

/** A tree of what clients send: sizes around every limit, names of every kind. */
function makeTree(world: World, name = "tree"): string {
  const root = world.folder(name);
  mkdirSync(`${root}/sub/deep`, { recursive: true });
  for (let at = 1; at <= 25; at++) writeFileSync(`${root}/sub/f${at}`, randomBytes(at * 997));
  writeFileSync(`${root}/big.bin`, randomBytes(12_000_001));
  writeFileSync(`${root}/empty`, "");
  writeFileSync(`${root}/sub/a+b&c #1%20.txt`, "odd");
  writeFileSync(`${root}/sub/deep/žluťoučký 中文`, "far");
  return root;
}

async function expectSame(door: Door, a: string, b: string): Promise<void> {
  expect(await run(door, ["diff", "-r", a, b])).toBe("");
}

const sdk = ({ url, isSecure, ca }: Door): S3Client =>
  new S3Client({
    endpoint: url,
    region: "local",
    credentials: KEY,
    forcePathStyle: true,
    ...(isSecure ? { requestHandler: { httpsAgent: new Agent({ ca: readFileSync(ca) }) } } : {}),
  });

const PYTHON = `
import boto3, os, sys, io
from botocore.config import Config
from botocore.exceptions import ClientError
def client(**more):
    return boto3.client("s3", endpoint_url=sys.argv[1], verify=os.environ.get("AWS_CA_BUNDLE"), config=Config(**more))
s3 = client()
s3.put_object(Bucket="site", Key="py/one", Body=b"hello", Metadata={"a": "b"}, ContentType="text/x-own")
got = s3.get_object(Bucket="site", Key="py/one")
assert got["Body"].read() == b"hello" and got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x-own", got
assert s3.get_object(Bucket="site", Key="py/one", Range="bytes=1-3")["Body"].read() == b"ell"
big = os.urandom(20 * 1024 * 1024)
s3.upload_fileobj(io.BytesIO(big), "site", "py/big")
back = io.BytesIO()
s3.download_fileobj("site", "py/big", back)
assert back.getvalue() == big
assert s3.head_object(Bucket="site", Key="py/big")["ETag"].endswith('-3"')
s3.copy({"Bucket": "site", "Key": "py/big"}, "site", "py/copy")
for number in range(7): s3.put_object(Bucket="site", Key=f"py/d{number}/x", Body=b"")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="site", Prefix="py/", Delimiter="/", PaginationConfig={"PageSize": 3})
found = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
assert found == [f"py/d{number}/" for number in range(7)], found
import urllib.request, ssl
url = client(signature_version="s3v4").generate_presigned_url("get_object", Params={"Bucket": "site", "Key": "py/one"})
bundle = os.environ.get("AWS_CA_BUNDLE")
context = ssl.create_default_context(cafile=bundle) if bundle else None
assert urllib.request.urlopen(url, context=context).read() == b"hello"
keys = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="site") for o in page["Contents"]]
answer = s3.delete_objects(Bucket="site", Delete={"Objects": [{"Key": key} for key in keys]})
assert len(answer["Deleted"]) == len(keys) == 10, answer
assert s3.list_objects_v2(Bucket="site")["KeyCount"] == 0
try:
    s3.get_object(Bucket="site", Key="py/one")
    raise AssertionError("it is still there")
except ClientError as error:
    assert error.response["Error"]["Code"] == "NoSuchKey", error
`;

/** Versions, object lock and lifecycle, as boto3 has them. */
const PYTHON_LOCKS = `
import boto3, datetime, sys
from botocore.exceptions import ClientError
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
def refused(code, work, **more):
    try:
        work(**more)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(f"{code} was expected")
b = "vault"
s3.create_bucket(Bucket=b, ObjectLockEnabledForBucket=True)
until = datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc)
one = s3.put_object(Bucket=b, Key="d/a", Body=b"one", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)["VersionId"]
two = s3.put_object(Bucket=b, Key="d/a", Body=b"two")["VersionId"]
head = s3.head_object(Bucket=b, Key="d/a", VersionId=one)
assert head["ObjectLockMode"] == "GOVERNANCE" and head["ObjectLockRetainUntilDate"] == until, head
marker = s3.delete_object(Bucket=b, Key="d/a")["VersionId"]
page = s3.list_object_versions(Bucket=b)
assert [v["VersionId"] for v in page["Versions"]] == [two, one] and page["DeleteMarkers"][0]["VersionId"] == marker, page
assert s3.delete_object(Bucket=b, Key="d/a", VersionId=marker)["DeleteMarker"]
s3.delete_object(Bucket=b, Key="d/a", VersionId=two)
got = s3.get_object(Bucket=b, Key="d/a")
assert got["Body"].read() == b"one" and got["VersionId"] == one, got
refused("AccessDenied", s3.delete_object, Bucket=b, Key="d/a", VersionId=one)
refused("AccessDenied", s3.put_object_retention, Bucket=b, Key="d/a", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until - datetime.timedelta(days=1)})
s3.put_object_legal_hold(Bucket=b, Key="d/a", LegalHold={"Status": "ON"})
assert s3.get_object_legal_hold(Bucket=b, Key="d/a")["LegalHold"]["Status"] == "ON"
refused("AccessDenied", s3.delete_object, Bucket=b, Key="d/a", VersionId=one, BypassGovernanceRetention=True)
s3.put_object_legal_hold(Bucket=b, Key="d/a", LegalHold={"Status": "OFF"})
refused("BucketNotEmpty", s3.delete_bucket, Bucket=b)
answer = s3.delete_objects(Bucket=b, BypassGovernanceRetention=True, Delete={"Objects": [{"Key": "d/a", "VersionId": one}]})
assert answer["Deleted"] == [{"Key": "d/a", "VersionId": one}], answer
page = s3.list_object_versions(Bucket=b)
assert "Versions" not in page and "DeleteMarkers" not in page, page
rules = [
    {"ID": "a", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 30}},
    {"ID": "b", "Status": "Disabled", "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 10}},
     "NoncurrentVersionExpiration": {"NoncurrentDays": 5, "NewerNoncurrentVersions": 2}},
    {"ID": "c", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
]
s3.put_bucket_lifecycle_configuration(Bucket=b, LifecycleConfiguration={"Rules": rules})
assert s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"] == rules
assert 'rule-id="a"' in s3.put_object(Bucket=b, Key="logs/x", Body=b"x")["Expiration"]
s3.put_object(Bucket=b, Key="cli", Body=b"")
b = "nulls"
s3.create_bucket(Bucket=b)
def versioning(status):
    s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": status})
def ids():
    page = s3.list_object_versions(Bucket=b)
    both = page.get("Versions", []) + page.get("DeleteMarkers", [])
    return {(one["VersionId"], one["IsLatest"]) for one in both}
assert "VersionId" not in s3.put_object(Bucket=b, Key="a", Body=b"zero")
versioning("Enabled")
one = s3.put_object(Bucket=b, Key="a", Body=b"one")["VersionId"]
assert ids() == {(one, True), ("null", False)}, ids()
s3.put_object_tagging(Bucket=b, Key="a", VersionId="null", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
got = s3.get_object(Bucket=b, Key="a", VersionId="null")
assert got["Body"].read() == b"zero" and got["TagCount"] == 1 and got["VersionId"] == "null", got
versioning("Suspended")
assert s3.put_object(Bucket=b, Key="a", Body=b"two")["VersionId"] == "null"
assert s3.get_object_tagging(Bucket=b, Key="a", VersionId="null")["TagSet"] == []
assert ids() == {("null", True), (one, False)}, ids()
assert s3.delete_object(Bucket=b, Key="a")["VersionId"] == "null"
assert ids() == {("null", True), (one, False)}, ids()
assert s3.delete_object(Bucket=b, Key="a", VersionId="null")["DeleteMarker"]
assert s3.get_object(Bucket=b, Key="a")["Body"].read() == b"one"
s3.delete_object(Bucket=b, Key="a", VersionId=one)
refused("NoSuchKey", s3.get_object, Bucket=b, Key="a")
assert ids() == set()
s3.delete_bucket(Bucket=b)
b = "vault"
s3.put_object_lock_configuration(Bucket=b, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}})
`;

const POLICY_PYTHON = `
import boto3, json, os, ssl, sys, urllib.error, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
bundle = os.environ.get("AWS_CA_BUNDLE")
context = ssl.create_default_context(cafile=bundle) if bundle else None
def client(key=None, secret=None, **more):
    return boto3.client("s3", endpoint_url=sys.argv[1], verify=bundle, aws_access_key_id=key, aws_secret_access_key=secret, config=Config(**more))
def refused(work, *codes):
    try: work()
    except ClientError as error: assert error.response["Error"]["Code"] in codes, error
    else: raise AssertionError("it was not refused: " + str(codes))
TYPE = {"Content-Type": "text/x-own"}
def fetched(url, method="GET", data=None):
    try: return urllib.request.urlopen(urllib.request.Request(url, method=method, data=data, headers=TYPE if data else {}), context=context).read()
    except urllib.error.HTTPError as error: return error.code
ann, bob = client(), client("BOBSKEY", "bobssecret-0123456789abcdef0123456789")
for key in ["pub/one", "pub/two", "own/x"]: ann.put_object(Bucket="site", Key=key, Body=key.encode())
refused(lambda: ann.get_bucket_policy(Bucket="site"), "NoSuchBucketPolicy")
refused(lambda: bob.get_object(Bucket="site", Key="pub/one"), "NoSuchBucket")
arn = "arn:aws:s3:::site"
policy = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": arn + "/pub/*"},
    {"Sid": "bob", "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/bob"]}, "Action": "s3:ListBucket", "Resource": arn,
     "Condition": {"StringLike": {"s3:prefix": "pub/*"}}},
    {"Sid": "kept", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject*", "Resource": arn + "/pub/one"}]})
ann.put_bucket_policy(Bucket="site", Policy=policy)
assert json.loads(ann.get_bucket_policy(Bucket="site")["Policy"]) == json.loads(policy)
assert ann.get_bucket_policy_status(Bucket="site")["PolicyStatus"]["IsPublic"] is True
assert bob.get_object(Bucket="site", Key="pub/one")["Body"].read() == b"pub/one"
assert [o["Key"] for o in bob.list_objects_v2(Bucket="site", Prefix="pub/")["Contents"]] == ["pub/one", "pub/two"]
refused(lambda: bob.list_objects_v2(Bucket="site"), "NoSuchBucket", "AccessDenied")
refused(lambda: bob.get_object(Bucket="site", Key="own/x"), "AccessDenied")
refused(lambda: bob.put_object(Bucket="site", Key="pub/new", Body=b""), "AccessDenied")
refused(lambda: ann.delete_object(Bucket="site", Key="pub/one"), "AccessDenied")
refused(lambda: ann.put_bucket_policy(Bucket="site", Policy="{}"), "MalformedPolicy")
assert fetched(sys.argv[1] + "/site/pub/two") == b"pub/two" and fetched(sys.argv[1] + "/site/own/x") == 403
ann.put_public_access_block(Bucket="site", PublicAccessBlockConfiguration={"BlockPublicAcls": True, "IgnorePublicAcls": True,
    "BlockPublicPolicy": True, "RestrictPublicBuckets": True})
assert fetched(sys.argv[1] + "/site/pub/two") == 403
assert ann.get_public_access_block(Bucket="site")["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"] is True
ann.delete_public_access_block(Bucket="site")
ann.delete_bucket_policy(Bucket="site")
refused(lambda: bob.get_object(Bucket="site", Key="pub/one"), "NoSuchBucket")
acl = ann.get_bucket_acl(Bucket="site")
assert [g["Permission"] for g in acl["Grants"]] == ["FULL_CONTROL"], acl
ann.put_object_acl(Bucket="site", Key="own/x", AccessControlPolicy={"Grants": acl["Grants"], "Owner": acl["Owner"]})
ann.put_object(Bucket="site", Key="own/x", Body=b"x", ACL="bucket-owner-full-control")
refused(lambda: ann.put_object_acl(Bucket="site", Key="own/x", ACL="public-read"), "AccessControlListNotSupported")
owner = ann.get_bucket_ownership_controls(Bucket="site")["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
assert owner == "BucketOwnerEnforced", owner
refused(lambda: ann.get_bucket_encryption(Bucket="site"), "ServerSideEncryptionConfigurationNotFoundError")
old = client(signature_version="s3")
put = old.generate_presigned_url("put_object", Params={"Bucket": "site", "Key": "own/v2 +x", "ContentType": "text/x-own", "Metadata": {"a": "b"}})
assert "AWSAccessKeyId=" in put and fetched(put, "PUT", b"version 2") == b"", put
assert ann.head_object(Bucket="site", Key="own/v2 +x")["Metadata"] == {"a": "b"}
get = old.generate_presigned_url("get_object", Params={"Bucket": "site", "Key": "own/v2 +x", "ResponseContentType": "text/plain"})
assert fetched(get) == b"version 2" and fetched(get + "x") == 403
assert fetched(old.generate_presigned_url("get_object", Params={"Bucket": "site", "Key": "own/x"}, ExpiresIn=-5)) == 403
`;

/** Keys of clients (SSE-C), as boto3 has them. */
const PYTHON_KEYS = `
import base64, boto3, hashlib, io, os, ssl, sys, urllib.error, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
bundle = os.environ["AWS_CA_BUNDLE"]
s3 = boto3.client("s3", endpoint_url=sys.argv[1], verify=bundle)
a, b = os.urandom(32), os.urandom(32)
key = lambda k: {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": k}
source = lambda k: {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": k}
def refused(status, work, **more):
    try: work(**more)
    except ClientError as error: assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error
    else: raise AssertionError(f"{status} was expected")
at = {"Bucket": "site", "Key": "py/keyed"}
made = s3.put_object(**at, Body=b"hello", **key(a))
assert made["SSECustomerAlgorithm"] == "AES256", made
assert s3.get_object(**at, **key(a))["Body"].read() == b"hello"
assert s3.get_object(**at, **key(a), Range="bytes=1-3")["Body"].read() == b"ell"
assert s3.head_object(**at, **key(a))["ContentLength"] == 5
for work in (s3.get_object, s3.head_object):
    refused(400, work, **at)
    refused(403, work, **at, **key(b))
big = os.urandom(20 * 1024 * 1024 + 7)
s3.upload_fileobj(io.BytesIO(big), "site", "py/big", ExtraArgs=key(a))
back = io.BytesIO()
s3.download_fileobj("site", "py/big", back, ExtraArgs=key(a))
assert back.getvalue() == big
assert s3.head_object(Bucket="site", Key="py/big", **key(a))["ETag"].endswith('-3"')
s3.copy({"Bucket": "site", "Key": "py/big"}, "site", "py/copy", ExtraArgs={**key(b), **source(a)}, SourceClient=None)
assert s3.get_object(Bucket="site", Key="py/copy", **key(b))["Body"].read() == big
refused(400, s3.copy_object, **at, CopySource="site/py/big")
signer = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(signature_version="s3v4"))
url = signer.generate_presigned_url("get_object", Params={**at, **key(a)})
headers = {"x-amz-server-side-encryption-customer-" + n: v for n, v in [("algorithm", "AES256"),
    ("key", base64.b64encode(a).decode()), ("key-MD5", base64.b64encode(hashlib.md5(a).digest()).decode())]}
context = ssl.create_default_context(cafile=bundle)
assert urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context).read() == b"hello"
try: urllib.request.urlopen(url, context=context)
except urllib.error.HTTPError as error: assert error.code in (400, 403), error
else: raise AssertionError("an address alone was enough")
`;

describe("S3 with other people's clients", () => {
  test.each(SCHEMES)("[CLOUD-1] awscli syncs a tree there and back, and removes a bucket with all in it, over %s", served(async (door) => {
    const { world, url } = door;
    const tree = makeTree(world);
    const aws = (...args: string[]): Promise<string> => run(door, ["aws", "--endpoint-url", url, ...args]);
    await aws("s3", "sync", "--quiet", tree, "s3://site/t");
    await aws("s3", "sync", "--quiet", "s3://site/t", world.path("back"));
    await expectSame(door, tree, world.path("back"));
    expect(await aws("s3", "rb", "--force", "s3://site")).toContain("remove_bucket: site");
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-2] boto3 puts, gets, uploads in parts, signs addresses and deletes, over %s", served(async (door) => {
    await run(door, ["/usr/bin/python3", "-c", PYTHON, door.url]);
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-10] boto3 sets policies, access lists and public access, and presigns with Version 2, over %s", served(async (door) => {
    await run(door, ["/usr/bin/python3", "-c", POLICY_PYTHON, door.url]);
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-3] s3cmd puts, compares MD5s, syncs and removes, over %s", served(async (door) => {
    const { world, host, isSecure, ca } = door;
    const tree = makeTree(world);
    const address = `host_base = ${host}\nhost_bucket = ${host}\nuse_https = ${isSecure ? "True" : "False"}\nca_certs_file = ${ca}\n`;
    const keys = `access_key = ${KEY.accessKeyId}\nsecret_key = ${KEY.secretAccessKey}\n`;
    const config = world.write("s3cfg", `[default]\n${keys}${address}`);
    const s3cmd = (...args: string[]): Promise<string> => run(door, ["s3cmd", "-c", config, "--no-progress", ...args]);
    await s3cmd("mb", "s3://viacmd");
    await s3cmd("sync", `${tree}/`, "s3://viacmd/t/");
    expect(await s3cmd("sync", "--dry-run", `${tree}/`, "s3://viacmd/t/")).not.toContain("upload:");
    expect(await s3cmd("info", "s3://viacmd/t/empty")).toContain("MD5 sum:   d41d8cd98f00b204e9800998ecf8427e");
    await s3cmd("sync", "s3://viacmd/t/", `${world.folder("back")}/`);
    await expectSame(door, tree, world.path("back"));
    await s3cmd("rb", "--recursive", "s3://viacmd");
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-4] rclone copies, syncs, checks and keeps times, over %s", served(async (door) => {
    const { world, url, isSecure, ca } = door;
    const tree = makeTree(world);
    const keys = `access_key_id = ${KEY.accessKeyId}\nsecret_access_key = ${KEY.secretAccessKey}\n`;
    const config = world.write("rclone.conf", `[hub]\ntype = s3\nprovider = Other\n${keys}endpoint = ${url}\n`);
    const secure = isSecure ? ["--ca-cert", ca] : [];
    const rclone = (...args: string[]): Promise<string> =>
      run({ ...door, isSecure: false }, ["rclone", "--config", config, ...secure, "--s3-upload-cutoff", "8M", "--s3-chunk-size", "5M", ...args]);
    await rclone("copy", tree, "hub:site/t");
    await rclone("check", tree, "hub:site/t");
    expect(await rclone("lsl", "hub:site/t/empty")).toContain(new Date(statSync(`${tree}/empty`).mtimeMs).toISOString().slice(0, 10));
    rmSync(`${tree}/sub/f2`);
    writeFileSync(`${tree}/sub/f3`, "changed");
    await rclone("sync", tree, "hub:site/t");
    await rclone("check", "--download", tree, "hub:site/t");
    await rclone("moveto", "hub:site/t/sub/f3", "hub:site/t/sub/moved");
    await rclone("copy", "hub:site/t", world.path("back"));
    expect(readFileSync(world.path("back/sub/moved"), "utf8")).toBe("changed");
    await rclone("purge", "hub:site/t");
    expect(await rclone("lsf", "-R", "hub:site")).toBe("");
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-5] restic backs up, checks, forgets and restores, over %s", served(async (door) => {
    const { world, url, isSecure, ca } = door;
    const tree = makeTree(world);
    const env = { RESTIC_PASSWORD: "secret", RESTIC_REPOSITORY: `s3:${url}/backups`, RESTIC_CACHE_DIR: world.folder("cache") };
    const restic = (...args: string[]): Promise<string> =>
      run({ ...door, isSecure: false }, ["restic", ...(isSecure ? ["--cacert", ca] : []), ...args], env);
    await restic("init");
    await restic("backup", "tree");
    writeFileSync(`${tree}/sub/f3`, "changed");
    await restic("backup", "tree");
    expect(await restic("check", "--read-data")).toContain("no errors were found");
    await restic("forget", "--keep-last", "1", "--prune");
    await restic("restore", "latest", "--target", world.path("back"));
    await expectSame(door, tree, world.path("back/tree"));
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-6] s3fs mounts a bucket as a file system, over %s", served(async (door) => {
    // Where nothing can be mounted there is nothing to see.
    if (!existsSync("/dev/fuse") || process.getuid?.() !== 0) return;
    const { world, url, isSecure, ca } = door;
    const at = world.folder("mnt");
    const password = world.write("passwd", `${KEY.accessKeyId}:${KEY.secretAccessKey}\n`);
    await run(door, ["chmod", "600", password]);
    const options = ["-o", `passwd_file=${password}`, "-o", `url=${url}`, "-o", "use_path_request_style", "-o", "endpoint=local"];
    await run(door, ["s3fs", "site", at, ...options], isSecure ? { CURL_CA_BUNDLE: ca } : {});
    try {
      const tree = makeTree(world);
      await run(door, ["cp", "-r", tree, `${at}/t`]);
      mkdirSync(`${at}/kept`);
      await run(door, ["mv", `${at}/t/sub/f1`, `${at}/kept/f1`]);
      await run(door, ["mv", `${at}/kept/f1`, `${at}/t/sub/f1`]);
      await run(door, ["chmod", "700", `${at}/t/sub/f1`]);
      await expectSame(door, tree, `${at}/t`);
      expect(readdirSync(at).sort()).toEqual(["kept", "t"]);
      rmSync(`${at}/t`, { recursive: true });
      expect(readdirSync(at)).toEqual(["kept"]);
    } finally {
      await run(door, ["umount", at]);
    }
  }), 180_000);

  test("[CLOUD-11] rclone mounts a bucket as a file system", served(async (door) => {
    // Where nothing can be mounted there is nothing to see.
    if (!existsSync("/dev/fuse") || process.getuid?.() !== 0) return;
    const { world, url } = door;
    const keys = `access_key_id = ${KEY.accessKeyId}\nsecret_access_key = ${KEY.secretAccessKey}\n`;
    const config = world.write("rclone.conf", `[hub]\ntype = s3\nprovider = Other\n${keys}endpoint = ${url}\n`);
    const at = world.folder("mnt");
    const cached = ["--vfs-cache-mode", "full", "--vfs-write-back", "0s", "--cache-dir", world.folder("cache")];
    await run(door, ["rclone", "--config", config, "mount", "hub:site", at, "--daemon", ...cached]);
    try {
      const tree = makeTree(world);
      await run(door, ["cp", "-r", tree, `${at}/t`]);
      await run(door, ["mv", `${at}/t/sub/f1`, `${at}/t/moved`]);
      await run(door, ["mv", `${at}/t/moved`, `${at}/t/sub/f1`]);
      writeFileSync(`${at}/t/sub/f2`, readFileSync(`${tree}/sub/f2`));
      await expectSame(door, tree, `${at}/t`);
      rmSync(`${at}/t/sub`, { recursive: true });
      expect(readdirSync(`${at}/t`).sort()).toEqual(["big.bin", "empty"]);
    } finally {
      await run(door, ["fusermount3", "-u", at]);
    }
    expect(await run(door, ["rclone", "--config", config, "lsf", "-R", "--files-only", "hub:site"])).toBe("t/big.bin\nt/empty\n");
  }).bind(undefined, "HTTP"), 180_000);

  test.each(SCHEMES)("[CLOUD-7] the SDK for JavaScript, with what it does by default: checksums, streams, parts, presigned addresses, over %s", served(async (door) => {
    const client = sdk(door);
    const Bucket = "site";
    await client.send(new PutObjectCommand({ Bucket, Key: "js/buffer", Body: Buffer.from("hello"), Metadata: { a: "b" } }));
    const stream = Readable.from([Buffer.alloc(100_000, "s"), Buffer.alloc(50_000, "t")]);
    await client.send(new PutObjectCommand({ Bucket, Key: "js/stream", Body: stream, ContentLength: 150_000 }));
    const got = await client.send(new GetObjectCommand({ Bucket, Key: "js/buffer" }));
    expect([await got.Body!.transformToString(), got.Metadata?.["a"], got.ChecksumCRC32]).toEqual(["hello", "b", "NhCmhg=="]);
    const streamed = await client.send(new GetObjectCommand({ Bucket, Key: "js/stream" }));
    expect((await streamed.Body!.transformToByteArray()).length).toBe(150_000);
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "js/parts", ChecksumAlgorithm: "CRC32" }));
    const Parts = [];
    for (const [at, letter] of ["A", "B", "C"].entries()) {
      const PartNumber = at + 1;
      const part = await client.send(new UploadPartCommand({ Bucket, Key: "js/parts", UploadId, PartNumber, Body: Buffer.alloc(PART, letter) }));
      Parts.push({ PartNumber, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32 });
    }
    const done = await client.send(new CompleteMultipartUploadCommand({ Bucket, Key: "js/parts", UploadId, MultipartUpload: { Parts } }));
    expect(done.ETag).toBe('"b2add96cc9702bbf4efb0ccdfc6b7747-3"');
    await client.send(new CopyObjectCommand({ Bucket, Key: "js/copy", CopySource: "site/js/parts" }));
    const listed = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "js/" }));
    expect(listed.Contents?.map(({ Key }) => Key)).toEqual(["js/buffer", "js/copy", "js/parts", "js/stream"]);
    const tls = door.isSecure ? { tls: { ca: readFileSync(door.ca, "utf8") } } : {};
    const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: "js/signed" }));
    expect((await fetch(put, { method: "PUT", body: "signed", ...tls })).status).toBe(200);
    const get = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "js/signed" }));
    expect(await (await fetch(get, tls)).text()).toBe("signed");
  }), 180_000);

  test.each(SCHEMES)("[CLOUD-8] a lock as Terraform takes it: of many, one holds it, over %s", served(async (door) => {
    const client = sdk(door);
    const take = (holder: string): Promise<string> =>
      client.send(new PutObjectCommand({ Bucket: "site", Key: "state.tflock", Body: holder, IfNoneMatch: "*" })).then(
        () => "held",
        (error: { name: string; $metadata: { httpStatusCode?: number } }) => `${error.$metadata.httpStatusCode} ${error.name}`,
      );
    const all = await Promise.all(Array.from({ length: 10 }, (_, at) => take(`holder ${at}`)));
    expect(all.filter((one) => one === "held")).toHaveLength(1);
    expect(all.filter((one) => one === "412 PreconditionFailed")).toHaveLength(9);
  }), 180_000);

  test("[CLOUD-20] boto3 and awscli delete single versions and null ones, lock them, and set the lifecycle of a bucket", () => served(async (door) => {
    await run(door, ["/usr/bin/python3", "-c", PYTHON_LOCKS, door.url]);
    const aws = (...args: string[]): Promise<string> => run(door, ["aws", "--endpoint-url", door.url, "--output", "json", "s3api", ...args]);
    const of = ["--bucket", "vault", "--key", "cli"];
    await aws("put-object-retention", ...of, "--retention", "Mode=COMPLIANCE,RetainUntilDate=2999-01-01T00:00:00Z");
    const { Versions } = JSON.parse(await aws("list-object-versions", "--bucket", "vault", "--prefix", "cli")) as { Versions: { VersionId: string }[] };
    const deleting = aws("delete-object", ...of, "--version-id", Versions[0]!.VersionId, "--bypass-governance-retention");
    await expect(deleting).rejects.toThrow("AccessDenied");
    expect(await aws("get-bucket-lifecycle-configuration", "--bucket", "vault")).toContain('"NoncurrentDays": 5');
  })("HTTP"), 60_000);

  test("[CLOUD-21] keys of clients: awscli, boto3, rclone and the SDK for JavaScript encrypt, in parts too, and read back", () => served(async (door) => {
    const { world, url, ca } = door;
    const tree = makeTree(world);
    const keyFile = world.write("key", "0123456789abcdef0123456789abcdef");
    const other = world.write("other", "abcdef0123456789abcdef0123456789");
    const aws = (...args: string[]): Promise<string> => run(door, ["aws", "--endpoint-url", url, "s3", ...args]);
    const keyed = (file: string): string[] => ["--sse-c", "AES256", "--sse-c-key", `fileb://${file}`];
    await aws("cp", "--quiet", `${tree}/big.bin`, "s3://site/big.bin", ...keyed(keyFile));
    const from = ["--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", `fileb://${keyFile}`];
    await aws("cp", "--quiet", "s3://site/big.bin", "s3://site/copy.bin", ...from, ...keyed(other));
    await aws("cp", "--quiet", "s3://site/copy.bin", world.path("copy.bin"), ...keyed(other));
    await expectSame(door, `${tree}/big.bin`, world.path("copy.bin"));
    await expect(aws("cp", "s3://site/copy.bin", world.path("none"), ...keyed(keyFile))).rejects.toThrow("403");
    await run(door, ["/usr/bin/python3", "-c", PYTHON_KEYS, url]);
    const keys = `access_key_id = ${KEY.accessKeyId}\nsecret_access_key = ${KEY.secretAccessKey}\n`;
    const ownKey = `sse_customer_algorithm = AES256\nsse_customer_key = ${readFileSync(keyFile, "utf8")}\n`;
    const config = world.write("rclone.conf", `[hub]\ntype = s3\nprovider = Other\n${keys}endpoint = ${url}\n${ownKey}`);
    const secure = ["--ca-cert", ca, "--s3-upload-cutoff", "8M", "--s3-chunk-size", "5M"];
    const rclone = (...args: string[]): Promise<string> => run({ ...door, isSecure: false }, ["rclone", "--config", config, ...secure, ...args]);
    await rclone("copy", tree, "hub:site/r");
    await rclone("check", "--download", tree, "hub:site/r");
    await rclone("moveto", "hub:site/r/big.bin", "hub:site/r/moved");
    await rclone("copyto", "hub:site/r/moved", world.path("moved"));
    await expectSame(door, `${tree}/big.bin`, world.path("moved"));
    const client = sdk(door);
    const SSE = { SSECustomerAlgorithm: "AES256", SSECustomerKey: readFileSync(keyFile, "utf8") };
    await client.send(new PutObjectCommand({ Bucket: "site", Key: "js", Body: "hello", ...SSE }));
    const got = await client.send(new GetObjectCommand({ Bucket: "site", Key: "js", ...SSE }));
    expect([await got.Body!.transformToString(), got.ChecksumCRC32]).toEqual(["hello", "NhCmhg=="]);
    await expect(client.send(new GetObjectCommand({ Bucket: "site", Key: "js" }))).rejects.toThrow("SSE-C");
  })("HTTPS"), 120_000);

  test.each(SCHEMES)("[CLOUD-9] the client of MinIO makes buckets, streams of unknown size, lists and removes, over %s", served(async (door) => {
    const { hostname, port } = new URL(door.url);
    const agent = door.isSecure ? { transportAgent: new Agent({ ca: readFileSync(door.ca) }) } : {};
    const client = new MinioClient({
      endPoint: hostname, port: Number(port), useSSL: door.isSecure, accessKey: KEY.accessKeyId, secretKey: KEY.secretAccessKey, ...agent,
    });
    await client.makeBucket("viaminio");
    expect(await client.bucketExists("viaminio")).toBe(true);
    await client.putObject("viaminio", "a/small", "hello");
    const pieces = Array.from({ length: 90 }, (_, at) => Buffer.alloc(1 << 20, at));
    await client.putObject("viaminio", "a/stream", Readable.from(pieces));
    const stream = await client.getObject("viaminio", "a/stream");
    expect(Buffer.concat(await stream.toArray()).equals(Buffer.concat(pieces))).toBe(true);
    const listed = await client.listObjectsV2("viaminio", "", true).toArray();
    expect((listed as { name: string }[]).map(({ name }) => name)).toEqual(["a/small", "a/stream"]);
    await client.removeObjects("viaminio", ["a/small", "a/stream"]);
    await client.removeBucket("viaminio");
    expect(await client.bucketExists("viaminio")).toBe(false);
  }), 180_000);
});
