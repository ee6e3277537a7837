/**
 * What is installed and by whom: every Python package has hashes, real pip refuses another file and a source archive,
 * and nothing the server starts sees its secrets.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installCommand, runPip } from "../../src/compute/environment/pip.ts";
import { findPython, makeVenv, runLines, writePipRequirements } from "../../src/compute/environment/python.ts";
import { AppError } from "../../src/errors.ts";
import { cleanEnvironment } from "../../src/lib/child-environment.ts";
import { readPins, writePins } from "../../src/lib/requirements.ts";

const TRAINER = join(import.meta.dir, "../../trainer");
const place = mkdtempSync(join(tmpdir(), "ftl-supply-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const read = (name: string) => readFileSync(join(TRAINER, name), "utf8");
const named = (suffix: string) =>
  readdirSync(TRAINER).filter((name) => /^requirements/.test(name) && name.endsWith(suffix));
const files = named(".txt");
/** Every package an input names, with its version. */
const asked = (input: string) => readPins(read(input)).map(({ name, version }) => `${name}==${version}`);

describe("the requirement files", () => {
  test.each(files)("every package of %s has one version and hashes", (name) => {
    const pins = readPins(read(name));
    expect(pins.length).toBeGreaterThan(0);
    expect(pins.filter(({ hashes }) => hashes.length === 0)).toEqual([]);
    // One line, one package: no option, address or path slips in between.
    expect(read(name)).not.toMatch(/^\s*(-[a-z]|--(?!hash)|https?:|git\+|\.|\/)/m);
  });

  test("the lock files hold the versions of the inputs", () => {
    const locks: Record<string, string[]> = {
      "requirements.in": ["requirements.txt", "requirements-py310.txt", "requirements-torch.txt"],
    };
    for (const input of named(".in")) {
      const outputs = locks[input] ?? [input.replace(/\.in$/, ".txt")];
      const held = outputs.flatMap((output) =>
        readPins(read(output)).map(({ name, version }) => `${name}==${version}`),
      );
      expect(asked(input).filter((pin) => !held.includes(pin))).toEqual([]);
    }
  });

  test("PyTorch and CUDA are only in their own file", () => {
    const stack = /^(torch|triton|nvidia-.*|cuda-.*)$/;
    expect(readPins(read("requirements-torch.txt")).filter(({ name }) => !stack.test(name))).toEqual([]);
    for (const name of ["requirements.txt", "requirements-py310.txt"])
      expect(readPins(read(name)).filter((pin) => stack.test(pin.name))).toEqual([]);
  });

  test("pins survive reading and writing, and anything but an exact version is refused", () => {
    const pins = readPins(read("requirements.txt"));
    expect(readPins(writePins(["a note"], pins))).toEqual(pins);
    expect(() => readPins("numpy>=2")).toThrow("not an exact version");
    expect(() => readPins("-r other.txt")).toThrow("not an exact version");
    expect(() => readPins("numpy==2 --hash=md5:00")).toThrow("not a sha256");
  });
});

/** Makes a package without any tools: as a wheel, and as a source archive whose build leaves a mark. */
const MAKE_PACKAGES = `
import base64, hashlib, io, sys, tarfile, zipfile
from pathlib import Path
out = Path(sys.argv[1])
def wheel(name, version, requires=()):
    info = f"{name}-{version}.dist-info"
    parts = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\\n" for path, text in parts.items())
    with zipfile.ZipFile(out / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**parts, f"{info}/RECORD": record + f"{info}/RECORD,,\\n"}.items():
            archive.writestr(path, text)
wheel("ftlwheel", "1.0")
setup = f"open({str(out / 'built')!r}, 'w').close()\\nfrom setuptools import setup\\nsetup(name='ftlsource', version='1.0', py_modules=[])\\n".encode()
with tarfile.open(out / "ftlsource-1.0.tar.gz", "w:gz") as archive:
    for path, data in {"ftlsource-1.0/setup.py": setup, "ftlsource-1.0/PKG-INFO": b"Metadata-Version: 2.1\\nName: ftlsource\\nVersion: 1.0\\n"}.items():
        member = tarfile.TarInfo(path)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
`;

describe("real pip", () => {
  let python: string;
  const index = join(place, "index");
  const sha256 = (name: string) => new Bun.CryptoHasher("sha256").update(readFileSync(join(index, name))).digest("hex");
  /** Installs one requirement by the program's own road; only the folder of the test is an index. */
  async function install(line: string): Promise<unknown> {
    const file = join(place, "requirements.txt");
    writeFileSync(file, `${line}\n`);
    const argv = installCommand(python, [file], ["--no-index", "--find-links", index]);
    return runPip(argv, { from: 0, to: 1, packages: 1 }, () => {}).catch((error: unknown) => error);
  }

  beforeAll(async () => {
    mkdirSync(index);
    python = await makeVenv(await findPython(null), join(place, "venv"));
    expect(await runLines([python, "-c", MAKE_PACKAGES, index])).toMatchObject({ code: 0 });
  }, 120_000);

  test("a wheel with the pinned hash is installed", async () => {
    const hash = sha256("ftlwheel-1.0-py3-none-any.whl");
    expect(await install(`ftlwheel==1.0 \\\n    --hash=sha256:${hash}`)).toBeUndefined();
    expect(await runLines([python, "-c", "import ftlwheel"])).toMatchObject({ code: 0 });
  }, 60_000);

  test("another file of the same name and version is refused with the reason", async () => {
    await runLines([python, "-m", "pip", "uninstall", "-y", "ftlwheel"]);
    const error = await install(`ftlwheel==1.0 --hash=sha256:${"0".repeat(64)}`);
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({ code: "package_refused", message: expect.stringContaining("ftlwheel") });
    expect(await runLines([python, "-c", "import ftlwheel"])).toMatchObject({ code: 1 });
  }, 60_000);

  test("a package without a hash is refused", async () => {
    expect(await install("ftlwheel==1.0")).toMatchObject({
      code: "pip_failed",
      message: expect.stringContaining("hash"),
    });
  }, 60_000);

  test("a source archive is refused even with a matching hash, and its build code never runs", async () => {
    const error = await install(`ftlsource==1.0 --hash=sha256:${sha256("ftlsource-1.0.tar.gz")}`);
    expect(error).toMatchObject({ code: "pip_failed", message: expect.stringContaining("ftlsource") });
    expect(readdirSync(index)).not.toContain("built");
  }, 60_000);

  test("pip settings in the environment cannot allow source archives", async () => {
    const before = process.env.PIP_NO_BINARY;
    process.env.PIP_NO_BINARY = ":all:";
    try {
      const error = await install(`ftlsource==1.0 --hash=sha256:${sha256("ftlsource-1.0.tar.gz")}`);
      expect(error).toMatchObject({ code: "pip_failed" });
      expect(readdirSync(index)).not.toContain("built");
    } finally {
      if (before === undefined) delete process.env.PIP_NO_BINARY;
      else process.env.PIP_NO_BINARY = before;
    }
  }, 60_000);
});

describe("the environment of child processes", () => {
  test("paths, proxies, certificates and pip settings are kept; tokens and everything unknown are removed", () => {
    const kept = {
      PATH: "/bin",
      HOME: "/home/a",
      TMPDIR: "/tmp",
      LANG: "C.UTF-8",
      https_proxy: "http://p",
      HTTP_PROXY: "http://p",
      NO_PROXY: "x",
      all_proxy: "y",
      PIP_INDEX_URL: "http://i",
      SSL_CERT_FILE: "/c",
      REQUESTS_CA_BUNDLE: "/c",
    };
    const gone = {
      FTL_HUB_TOKEN: "canary",
      FTL_DATABASE_TOKEN: "canary",
      AWS_SECRET_ACCESS_KEY: "k",
      PYTHONPATH: "/x",
      XPIP_: "x",
    };
    expect(cleanEnvironment({}, { ...kept, ...gone, MISSING: undefined })).toEqual(kept);
    expect(cleanEnvironment({ DS_BUILD_OPS: "0" }, gone)).toEqual({ DS_BUILD_OPS: "0" });
  });

  test("pip gets none of the server's tokens", async () => {
    const fake = join(place, "python");
    writeFileSync(fake, '#!/bin/sh\necho "called with: $*"\nenv\n');
    chmodSync(fake, 0o755);
    process.env.FTL_HUB_TOKEN = "canary-of-the-hub";
    process.env.PIP_CANARY = "setting-of-pip";
    try {
      const said: string[] = [];
      const file = writePipRequirements(join(place, "old-pip"));
      await runLines(installCommand(fake, [file]), { onLine: (line) => said.push(line) });
      const text = said.join("\n");
      expect(text).toContain("-m pip install");
      expect(text).toContain("--require-hashes --only-binary :all:");
      expect(text).toContain("PIP_CANARY=setting-of-pip");
      expect(text).toMatch(/^PATH=/m);
      expect(text).not.toContain("FTL_");
      expect(text).not.toContain("canary-of-the-hub");
    } finally {
      delete process.env.FTL_HUB_TOKEN;
      delete process.env.PIP_CANARY;
    }
  });

  test("every program that is started names its environment", () => {
    const root = join(import.meta.dir, "../..");
    const started = [...new Bun.Glob("{src,plugins}/**/*.{ts,tsx}").scanSync(root)].flatMap((path) => {
      const source = readFileSync(join(root, path), "utf8");
      return [...source.matchAll(/Bun\.spawn(?:Sync)?\(/g)].map((match) => {
        // The call, to the bracket that closes it.
        let depth = 0;
        let end = match.index;
        do {
          if (source[end] === "(") depth++;
          if (source[end] === ")") depth--;
          end++;
        } while (end < source.length && (depth > 0 || !source.slice(match.index, end).includes("(")));
        return { path, call: source.slice(match.index, end) };
      });
    });
    expect(started.length).toBeGreaterThan(5);
    expect(started.filter(({ call }) => !/\benv\b[:,]/.test(call)).map(({ path }) => path)).toEqual([]);
    const others = [...new Bun.Glob("{src,plugins}/**/*.{ts,tsx}").scanSync(root)].filter((path) =>
      /child_process/.test(readFileSync(join(root, path), "utf8")),
    );
    expect(others).toEqual([]);
  });
});
