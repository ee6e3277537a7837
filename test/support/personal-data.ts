/** Helpers for tests of personal data: rows with planted values, and waiting for scans. */
import type { TestApp } from "./app.ts";
import { validated } from "./datasets.ts";

/** A row with the text in its question. */
export const asking = (text: string): string =>
  JSON.stringify({
    messages: [
      { role: "user", content: text },
      { role: "assistant", content: "Thank you, it is noted." },
    ],
  });

export interface PiiObject {
  version_id: string;
  status: string;
  engine: string;
  rows: number;
  rows_scanned: number;
  rows_with_findings: number;
  counts: { kind: string; name: string; count: number }[];
  error: string | null;
  pii_policy: string;
  decision: { decision: string; by: string; by_name: string; reason: string; next_version_id: string | null } | null;
}

/** What was found in a version, once its scan has ended. */
export async function scanned(lab: TestApp, dataset: string, version = ""): Promise<PiiObject> {
  for (let i = 0; i < 1000; i++) {
    const found = await lab.json<PiiObject>("GET", `/v1/datasets/${dataset}/pii${version && `?version=${version}`}`);
    if (found.status === "done" || found.status === "failed") return found;
    await Bun.sleep(20);
  }
  throw new Error(`the scan of ${dataset} does not end`);
}

/** Uploads rows and waits until they are validated and scanned. */
export async function scannedDataset(lab: TestApp, rows: string[], name = "train.jsonl") {
  const { dataset, version } = await validated(lab, `${rows.join("\n")}\n`, name);
  return { id: dataset.id, version, found: await scanned(lab, dataset.id) };
}
