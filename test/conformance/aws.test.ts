/** The AWS plugin against moto passes every case for rented machines. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import aws from "../../plugins/aws/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { casesFor, runCase } from "../../src/contract/conformance.ts";
import { AMI, awsSettings } from "../support/aws-lab.ts";
import { awsWorld } from "../support/aws-world.ts";
import { motoMissing, startMoto } from "../support/moto.ts";

let moto: Awaited<ReturnType<typeof startMoto>>;
let dataDir: string;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "ftl-aws-"));
  if (!motoMissing) moto = await startMoto();
}, 60_000);
afterAll(async () => {
  await moto?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

describe.skipIf(motoMissing !== null)("AWS conforms:", () => {
  const world = awsWorld();
  let setup: ReturnType<typeof conformanceSetup> | null = null;
  for (const one of casesFor(aws))
    test(one.name, async () => {
      const settings = awsSettings(moto.url);
      world.parameters.set(String(settings.ami), AMI);
      setup ??= conformanceSetup(aws, settings, dataDir, { send: world.fetch });
      const result = await runCase(one, setup.make, setup.tools);
      expect(result.detail || result.outcome, one.name).toBe(result.outcome === "skipped" ? result.detail : "passed");
    }, 60_000);
});
