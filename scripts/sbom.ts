/**
 * `bun run sbom [FILE]`: writes a CycloneDX 1.6 list of every npm and Python package of this project with its hashes,
 * only from bun.lock and the requirement files.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { readPins } from "../src/lib/requirements.ts";
import { ROOT, say } from "./setup.ts";

type Scope = "required" | "optional" | "excluded";

interface Component {
  type: "library";
  "bom-ref": string;
  name: string;
  version: string;
  /** `excluded` = used for development and tests, not installed. */
  scope: Scope;
  purl: string;
  hashes?: { alg: "SHA-512"; content: string }[];
  externalReferences?: {
    type: "distribution";
    url: string;
    comment: string;
    hashes: { alg: "SHA-256"; content: string }[];
  }[];
  properties?: { name: string; value: string }[];
}

interface Dependency {
  ref: string;
  dependsOn: string[];
}

interface Group {
  components: Component[];
  dependencies: Dependency[];
  /** The project's own dependencies. */
  direct: string[];
}

interface LockEntry {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  /** Optional peer dependencies. */
  optionalPeers?: string[];
}

interface BunLock {
  workspaces: Record<string, { dependencies?: Record<string, string>; devDependencies?: Record<string, string> }>;
  /** By path of names; each entry: name@version, registry, dependencies, and the hash of its archive. */
  packages: Record<string, [id: string, registry: string, asks: LockEntry, integrity: string]>;
}

const sorted = (values: Iterable<string>) => [...new Set(values)].sort();

/** Names of a path of bun.lock: `a/@b/c` is c of the scope @b, below a. */
function namesOf(key: string): string[] {
  return key.match(/@[^/]+\/[^/]+|[^/]+/g) ?? [];
}

/** Every package of bun.lock. @throws Error for one without a version or a sha512 */
export function npmPackages(lock: BunLock): Group {
  const ids = new Map<string, string>();
  for (const [key, [id, , , integrity]] of Object.entries(lock.packages)) {
    if (!/.@\d/.test(id) || !integrity?.startsWith("sha512-"))
      throw new Error(`bun.lock: ${key} has no version or no sha512`);
    const at = id.lastIndexOf("@");
    ids.set(key, `pkg:npm/${id.slice(0, at).replace("@", "%40")}@${id.slice(at + 1)}`);
  }
  /** The path under which the package at `key` finds `name`: beside it, or in the nearest folder above. */
  const find = (key: string, name: string): string | null => {
    for (let names = namesOf(key); ; names = names.slice(0, -1)) {
      const path = [...names, name].join("/");
      if (path in lock.packages) return path;
      if (names.length === 0) return null;
    }
  };
  const below = (key: string): string[] => {
    const [, , asks] = lock.packages[key] ?? ["", "", {}];
    const names = Object.keys({ ...asks?.dependencies, ...asks?.optionalDependencies, ...asks?.peerDependencies });
    return names
      .filter((name) => !asks?.optionalPeers?.includes(name))
      .map((name) => find(key, name))
      .filter((path) => path !== null);
  };
  const reach = (names: string[]): Set<string> => {
    const seen = new Set<string>();
    const left = names.map((name) => find("", name)).filter((path) => path !== null);
    for (let key = left.pop(); key !== undefined; key = left.pop()) {
      if (seen.has(key)) continue;
      seen.add(key);
      left.push(...below(key));
    }
    return seen;
  };
  const top = lock.workspaces[""] ?? {};
  const direct = Object.keys({ ...top.dependencies, ...top.devDependencies });
  const shipped = new Set([...reach(Object.keys(top.dependencies ?? {}))].map((key) => ids.get(key)));
  const components = new Map<string, Component>();
  const edges = new Map<string, Set<string>>();
  for (const [key, [id, , , integrity]] of Object.entries(lock.packages)) {
    const ref = ids.get(key) ?? "";
    const at = id.lastIndexOf("@");
    components.set(ref, {
      type: "library",
      "bom-ref": ref,
      name: id.slice(0, at),
      version: id.slice(at + 1),
      scope: shipped.has(ref) ? "required" : "excluded",
      purl: ref,
      hashes: [{ alg: "SHA-512", content: Buffer.from(integrity.slice(7), "base64").toString("hex") }],
    });
    const asked = edges.get(ref) ?? new Set();
    for (const path of below(key)) asked.add(ids.get(path) ?? "");
    edges.set(ref, asked);
  }
  return {
    components: [...components.values()],
    dependencies: [...edges].map(([ref, asked]) => ({ ref, dependsOn: sorted(asked) })),
    direct: direct.map((name) => ids.get(find("", name) ?? "") ?? ""),
  };
}

/** Files whose packages are not part of an installation, or optional. */
const SCOPES: Record<string, Scope> = {
  "requirements-clients.txt": "excluded",
  "requirements-clouds.txt": "excluded",
  "requirements-dev.txt": "excluded",
  "requirements-focus.txt": "excluded",
  "requirements-tools.txt": "excluded",
  "requirements-zero.txt": "optional",
  "requirements-pip.txt": "optional",
};
const ORDER: Scope[] = ["required", "optional", "excluded"];

/**
 * Every package of the requirement files. They do not have the dependency graph: only packages that the inputs name are
 * listed as dependencies.
 */
export function pythonPackages(files: Record<string, string>): Group {
  const components = new Map<string, Component>();
  const direct = new Set<string>();
  const refOf = (name: string, version: string) =>
    `pkg:pypi/${name.toLowerCase().replace(/[._]/g, "-")}@${encodeURIComponent(version)}`;
  for (const [file, text] of Object.entries(files)) {
    const pins = readPins(text);
    if (file.endsWith(".in")) for (const { name, version } of pins) direct.add(refOf(name, version));
    else
      for (const { name, version, hashes } of pins) {
        if (hashes.length === 0) throw new Error(`${file}: ${name} has no hash`);
        const ref = refOf(name, version);
        const scope = SCOPES[file] ?? "required";
        const known = components.get(ref);
        const held = [...(known?.properties ?? []), { name: "finetune-lab:file", value: `trainer/${file}` }];
        components.set(ref, {
          type: "library",
          "bom-ref": ref,
          name,
          version,
          scope: known && ORDER.indexOf(known.scope) < ORDER.indexOf(scope) ? known.scope : scope,
          purl: ref,
          externalReferences: [
            {
              type: "distribution",
              url: `https://pypi.org/simple/${name}/`,
              comment: "every file of this version; one of them is installed",
              hashes: hashes.map((content) => ({ alg: "SHA-256", content })),
            },
          ],
          properties: held,
        });
      }
  }
  const refs = [...components.keys()];
  return {
    components: [...components.values()],
    dependencies: refs.map((ref) => ({ ref, dependsOn: [] })),
    direct: [...direct],
  };
}

/** The complete document. The same sources give the same bytes: no clock, and a serial number from the content. */
export function makeSbom(root: string) {
  const trainer = join(root, "trainer");
  const names = readdirSync(trainer).filter((name) => /^requirements.*\.(in|txt)$/.test(name));
  const texts = Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(trainer, name), "utf8")]));
  const project = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { name: string; version: string };
  const groups = [
    npmPackages(Bun.JSONC.parse(readFileSync(join(root, "bun.lock"), "utf8")) as BunLock),
    pythonPackages(texts),
  ];
  const self = `${project.name}@${project.version}`;
  const byRef = (a: { ref: string }, b: { ref: string }) => (a.ref < b.ref ? -1 : 1);
  const components = groups.flatMap((group) => group.components).sort((a, b) => (a.purl < b.purl ? -1 : 1));
  const dependencies = groups.flatMap((group) => group.dependencies).sort(byRef);
  dependencies.unshift({ ref: self, dependsOn: sorted(groups.flatMap((group) => group.direct)) });
  const digest = new Bun.CryptoHasher("sha256").update(JSON.stringify([self, components, dependencies])).digest("hex");
  // A UUID of version 8: its bits are free to choose.
  const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuid}`,
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": self,
        name: project.name,
        version: project.version,
        licenses: [{ license: { id: "Apache-2.0" } }],
      },
    },
    components,
    dependencies,
  };
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  if (words.length > 1 || words[0]?.startsWith("-")) {
    process.stderr.write("bun run sbom [FILE]: FILE is dist/sbom.cdx.json unless another is named\n");
    process.exit(2);
  }
  const out = resolve(words[0] ?? join(ROOT, "dist/sbom.cdx.json"));
  const sbom = makeSbom(ROOT);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify(sbom, null, 2)}\n`);
  const of = (kind: string) => sbom.components.filter(({ purl }) => purl.startsWith(`pkg:${kind}/`)).length;
  say(`${out}: ${of("npm")} npm packages, ${of("pypi")} Python packages`);
}
