/** The build context of an image: the embedded sources, and wheels from a directory. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { assetPath, listAssets } from "../../assets.ts";
import type { TarEntry } from "../../lib/disk/tar.ts";

/**
 * The build context of both Dockerfiles.
 * @param wheels a directory with wheels to install, or null
 */
export function imageContext(wheels: string | null): { folders: string[]; entries: TarEntry[]; bytes: number } {
  const entry = (name: string, path: string): TarEntry => ({ name, path, size: statSync(path).size });
  const ours = ["trainer", "compose"].flatMap((folder) =>
    listAssets(folder).map((name) => entry(`${folder}/${name}`, join(assetPath(folder), name))),
  );
  const given = wheels === null ? [] : readdirSync(wheels).filter((name) => name.endsWith(".whl"));
  const entries = [...ours, ...given.sort().map((name) => entry(`wheels/${name}`, join(wheels ?? "", name)))];
  return { folders: ["wheels/"], entries, bytes: entries.reduce((sum, { size }) => sum + size, 0) };
}
