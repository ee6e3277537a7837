/** The output of `nvidia-smi` on real machines, with drivers 418 to 595, is parsed correctly. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { nvidiaFailure, readNvidiaSmi } from "../../src/compute/hosts/nvidia.ts";

const DATA = join(import.meta.dir, "../recordings/nvidia-smi");
const read = (name: string) => readFileSync(join(DATA, name), "utf8");

/** file: driver, model, MB, MB used, percent, degrees, watts, limit, uncorrectable errors. */
const CARDS: Record<string, (string | number | null)[]> = {
  "a10g.xml": ["515.105.01", "NVIDIA A10G", 23028, 22, 0, 17, 25.58, 300, 0],
  "gtx-1070-ti.xml": [null, "GeForce GTX 1070 Ti", 4096, 42, 0, 39, null, null, null],
  "gtx-1660-ti.xml": ["418.43", "Graphics Device", 5912, 0, 0, 40, 8.93, 130, null],
  "quadro-p2000.xml": ["525.125.06", "Quadro P2000", 5120, 1, 0, 34, 4.61, 75, null],
  "quadro-p400.xml": ["418.43", "Quadro P400", 1998, 0, 0, 33, null, null, null],
  "rtx-3060.xml": ["570.124.04", "NVIDIA GeForce RTX 3060", 12288, 116, 0, 42, 11.63, 170, null],
  "rtx-3080-dtd13.xml": ["595.58.03", "NVIDIA GeForce RTX 3080", 10240, 9184, 65, 27, 142.33, 320, null],
  "rtx-3080.xml": ["536.40", "NVIDIA GeForce RTX 3080", 10240, 1128, 0, 31, 22.78, 336, null],
  "rtx-3090.xml": ["525.147.05", "NVIDIA GeForce RTX 3090", 24576, 1, 0, 37, 27.23, 200, null],
  "rtx-4000-sff-ada.xml": ["595.84", "NVIDIA RTX 4000 SFF Ada Generation", 20475, 3534, 0, 38, 8.44, 70, null],
  "tesla-t4.xml": ["515.105.01", "Tesla T4", 15360, 1032, 0, 40, 26.78, 70, 0],
};

describe("GPUs", () => {
  test.each(Object.entries(CARDS))("%s", (file, expected) => {
    const reading = readNvidiaSmi(read(file), "");
    const gpu = reading?.gpus[0];
    expect([reading?.gpus.length, reading?.problems]).toEqual([1, []]);
    expect(gpu?.uuid).toMatch(/^GPU-[0-9a-f-]{36}$/);
    expect([
      reading?.driver,
      gpu?.model,
      gpu?.memoryMb,
      gpu?.memoryUsedMb,
      gpu?.utilization,
      gpu?.temperatureC,
      gpu?.powerW,
      gpu?.powerLimitW,
      gpu?.eccErrors,
    ]).toEqual(expected);
  });

  test("every recording has an expected result", () => {
    const files = readdirSync(DATA).filter((name) => name.endsWith(".xml") && name !== "a100-sxm4.xml");
    expect(files.sort()).toEqual(Object.keys(CARDS).sort());
  });

  test("several GPUs keep their order", () => {
    const one = read("tesla-t4.xml");
    const card = /<gpu [\s\S]*<\/gpu>/.exec(one)?.[0] ?? "";
    const two = one.replace(card, `${card}\n${card.replaceAll("GPU-d37e67a5", "GPU-ffffffff")}`);
    expect(readNvidiaSmi(two, "")?.gpus.map((gpu) => [gpu.index, gpu.uuid.slice(0, 12)])).toEqual([
      [0, "GPU-d37e67a5"],
      [1, "GPU-ffffffff"],
    ]);
  });
});

describe("MIG", () => {
  test("slices replace their GPU, with UUID and profile", () => {
    const reading = readNvidiaSmi(read("a100-sxm4.xml"), read("mig-list.txt"));
    expect(reading?.problems).toEqual([]);
    expect(reading?.gpus).toHaveLength(4);
    expect(reading?.gpus[2]).toEqual({
      uuid: "MIG-f00d722c-f4e1-52c9-aa31-750441ae1bfe",
      index: 0,
      model: "NVIDIA A100-SXM4-80GB",
      memoryMb: 19968,
      memoryUsedMb: 12,
      utilization: null,
      temperatureC: 27,
      powerW: 67.03,
      powerLimitW: 500,
      eccErrors: 0,
      parent: "GPU-513536b6-7d19-9063-b049-1e69664bb298",
      profile: "1g.20gb",
    });
  });

  test("slices without a name are a problem, and no job gets them", () => {
    const reading = readNvidiaSmi(read("a100-sxm4.xml"), read("mig-list-7.txt"));
    expect(reading?.gpus).toEqual([]);
    expect(reading?.problems).toEqual(["4 MIG slices of GPU 0 have no name in nvidia-smi -L and cannot be used."]);
  });

  test("a GPU in MIG mode without slices is a problem", () => {
    const bare = read("a100-sxm4.xml").replace(
      /<mig_devices>[\s\S]*<\/mig_devices>/,
      "<mig_devices>None</mig_devices>",
    );
    const reading = readNvidiaSmi(bare, read("mig-list.txt"));
    expect([reading?.gpus, reading?.problems.length]).toEqual([[], 1]);
    expect(reading?.problems[0]).toContain("create slices");
  });
});

describe("failures", () => {
  const failures = JSON.parse(read("failures.json")) as { code: string; text: string; source: string }[];
  test.each(failures.map((one) => [one.source, one] as const))("%s", (_, { code, text }) => {
    expect(readNvidiaSmi(text, "")).toBeNull();
    const failure = nvidiaFailure(text);
    expect(failure.code as string).toBe(code);
    expect(failure.remedy.length).toBeGreaterThan(20);
  });

  test("an incomplete document is not used", () => {
    expect(readNvidiaSmi(read("tesla-t4.xml").slice(0, 900), "")).toBeNull();
  });
});
