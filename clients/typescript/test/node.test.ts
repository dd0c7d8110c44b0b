// Against a real node: $ZL_PROGRAM, or built from the tree.

import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

import { connect, unwrap, ZhenglianError, type Problem, type Schemas } from "../src/index.js";

const root = resolve(import.meta.dirname, "../../../..");
const dir = mkdtempSync(join(tmpdir(), "zl-client-"));
let program = process.env["ZL_PROGRAM"] ?? "";
let serving: ChildProcess | undefined;
let founded: { url: string; dir: string; keys: Record<string, string> };

function freeAddress(): Promise<string> {
  return new Promise((done, fail) => {
    const s = createServer().on("error", fail);
    s.listen(0, "127.0.0.1", () => {
      const { port } = s.address() as AddressInfo;
      s.close(() => done(`127.0.0.1:${port}`));
    });
  });
}

before(async () => {
  if (program === "") {
    program = join(dir, "zhenglian");
    execFileSync("go", ["build", "-o", program, "./node/cmd/zhenglian"], { cwd: root });
  }
  const out = execFileSync(program, [
    "init", "--dir", join(dir, "pilot"), "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
    "--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", "11110000X000100145",
    "--listen", await freeAddress(), "--admin", await freeAddress(), "--json",
  ]);
  founded = JSON.parse(out.toString());
  serving = spawn(program, ["serve", "--dir", founded.dir], { stdio: "ignore" });
  for (const deadline = Date.now() + 30_000; ; ) {
    const ready = await fetch(`${founded.url}/readyz`).then((r) => r.ok, () => false);
    if (ready) return;
    assert.ok(Date.now() < deadline, "the node is not ready");
    await new Promise((r) => setTimeout(r, 50));
  }
});

after(async () => {
  if (serving) {
    const gone = new Promise((done) => serving?.once("exit", done));
    serving.kill("SIGTERM");
    await gone;
  }
  rmSync(dir, { recursive: true, force: true });
});

const licence: Schemas["NewLicence"] = {
  type: "11100000MB0143028R001",
  number: "BJ0000001",
  holder: { code: "91110105X000000192", name: "北京样例科技有限公司" },
};

async function failing(what: Promise<unknown>): Promise<ZhenglianError> {
  try {
    await what;
  } catch (e) {
    assert.ok(e instanceof ZhenglianError, String(e));
    return e;
  }
  assert.fail("it succeeded");
}

test("a licence is issued and verified", async () => {
  const drafter = connect(founded.url, founded.keys["drafter"]);
  const outcome = unwrap(await drafter.POST("/v1/licences", { body: licence, params: { header: { "Idempotency-Key": "first" } } }));
  assert.ok(!("draft" in outcome), "it waits for a second person");
  assert.equal(outcome.status, "committed");
  const again = unwrap(await drafter.POST("/v1/licences", { body: licence, params: { header: { "Idempotency-Key": "first" } } }));
  assert.ok(!("draft" in again));
  assert.equal(again.operation, outcome.operation);

  const verifier = connect(founded.url, founded.keys["verifier"]);
  const verdict = unwrap(await verifier.POST("/v1/verify", { body: { number: licence.number, type: licence.type } }));
  assert.ok(!Array.isArray(verdict));
  assert.equal(verdict.verdict, "valid");
  assert.equal(verdict.record?.id, outcome.record);

  const record = unwrap(await verifier.GET("/v1/records/{kind}/{id}", { params: { path: { kind: "licence", id: outcome.record } } }));
  assert.equal(record.record.state, "in_force");
});

test("an error keeps its code and its Chinese text", async () => {
  const expected: [string, string | undefined, Schemas["NewLicence"], Problem["code"], number][] = [
    ["no right", founded.keys["verifier"], licence, "forbidden", 403],
    ["no key", undefined, licence, "unauthenticated", 401],
    ["a bad code", founded.keys["drafter"], { ...licence, number: "BJ2", holder: { code: "91110105X000000193", name: "甲" } }, "bad_uscc", 400],
  ];
  for (const [name, key, body, code, status] of expected) {
    const e = await failing(connect(founded.url, key).POST("/v1/licences", { body }).then(unwrap));
    assert.equal(e.code, code, name);
    assert.equal(e.status, status, name);
    assert.match(e.zh, /\p{Script=Han}/u, name);
    assert.equal(e.written, "nothing", name);
  }
});

test("what does not come from a node is an error all the same", async () => {
  const proxy = connect("http://node.example", "k", {
    fetch: async () => new Response("<html>", { status: 502, headers: { "Content-Type": "text/html" } }),
  });
  const e = await failing(proxy.GET("/healthz").then(unwrap));
  assert.equal(e.status, 502);
  assert.equal(e.code, undefined);
  assert.equal(e.written, "perhaps");
});
