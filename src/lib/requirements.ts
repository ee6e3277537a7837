/**
 * Reads pip requirement files as this project writes them: one exact version per package, with hashes on continuation
 * lines.
 */

export interface Pin {
  /** As written in the file; `uv` writes names in lower case. */
  name: string;
  version: string;
  /** Environment marker (`sys_platform == 'linux'`), or null when the package is meant for every platform. */
  marker: string | null;
  /** Hex sha256 of every file that may be installed. */
  hashes: string[];
}

/**
 * The pins of a requirement file; comments and extras (`moto[server]`) are skipped.
 * @throws Error naming a line that is not an exact pin
 */
export function readPins(text: string): Pin[] {
  const lines = text
    .replace(/\\\r?\n/g, " ")
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter(Boolean);
  return lines.map((line) => {
    const [spec = "", ...options] = line.split(/\s--hash=/);
    const [, name, version, marker] =
      /^([A-Za-z0-9._-]+)(?:\[[\w,.-]+\])?==([^\s;]+)\s*(?:;\s*(.+))?$/.exec(spec.trim()) ?? [];
    if (!name || !version) throw new Error(`"${line.slice(0, 80)}" is not an exact version of a package`);
    const hashes = options.map((option) => /^sha256:([0-9a-f]{64})$/.exec(option.trim())?.[1] ?? "");
    if (hashes.includes("")) throw new Error(`${name}: a hash that is not a sha256`);
    return { name, version, marker: marker?.trim() ?? null, hashes };
  });
}

/** The pins as a requirement file. `head` are comment lines without `#`. */
export function writePins(head: readonly string[], pins: readonly Pin[]): string {
  const blocks = pins.map(({ name, version, marker, hashes }) =>
    [`${name}==${version}${marker ? ` ; ${marker}` : ""}`, ...hashes.map((hash) => `    --hash=sha256:${hash}`)].join(
      " \\\n",
    ),
  );
  return `${[...head.map((line) => `# ${line}`), ...blocks].join("\n")}\n`;
}
