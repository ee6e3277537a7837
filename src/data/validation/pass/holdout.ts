/**
 * Selects the validation split while the file streams. Rows with the same or nearly the same prompt stay together, and
 * labels keep their shares. The choice depends only on the rows and the seed.
 */
import type { Hash } from "../rows/first-rows.ts";
import type { createSets } from "../rows/sets.ts";
import type { createLatePrompts } from "./late-prompts.ts";

const MAX_HOLDOUT_ROWS = 1000;
/** Groups that are kept to choose from: more than rows, so that there are enough of each label. */
const MAX_GROUPS = 2 * MAX_HOLDOUT_ROWS;
/** A split with less than this share of the wanted rows is too small, so coarse groups are not used. */
const ENOUGH = 0.25;

/** The byte range of a canonical row; `end` includes the line break. */
export interface RowSpan {
  start: number;
  end: number;
}

interface LabeledSpan extends RowSpan {
  label: number;
}

interface Group {
  key: number;
  /** Kept prompts of the group; empty when its prompt was not kept. */
  prompts: number[];
  /** Null when the group has more rows than the validation split can hold. */
  spans: LabeledSpan[] | null;
}

/** A 53-bit number from a hash and the seed. Equal hashes get equal keys. */
function splitKey({ lo, hi }: Hash, seed: number): number {
  let a = (lo ^ seed) | 0;
  let b = (hi ^ Math.imul(seed, 0x85ebca6b)) | 0;
  for (let round = 0; round < 2; round++) {
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b);
    b = Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
    a ^= b >>> 15;
    b ^= a >>> 16;
  }
  return (a >>> 0) * 2 ** 21 + ((b >>> 0) >>> 11);
}

/** Size of the validation split: the fraction of `rows`, at most 1,000, and at least one row is left for training. */
function holdoutSize(rows: number, fraction: number): number {
  if (fraction <= 0 || rows < 2) return 0;
  return Math.min(MAX_HOLDOUT_ROWS, rows - 1, Math.max(1, Math.round(rows * fraction)));
}

/** Keeps the groups with the smallest keys, each with its rows. */
function createSmallest() {
  // A max-heap by key: the root is removed first.
  const heap: Group[] = [];
  /** Larger keys are not kept: the largest key of a full heap. */
  let limit = Number.POSITIVE_INFINITY;
  const byKey = new Map<number, Group>();
  const keyAt = (index: number) => heap[index]?.key ?? -1;

  function up(from: number) {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keyAt(parent) >= keyAt(at)) return;
      swap(at, parent);
      at = parent;
    }
  }
  function down() {
    let at = 0;
    for (;;) {
      const left = at * 2 + 1;
      if (left >= heap.length) return;
      const child = left + 1 < heap.length && keyAt(left + 1) > keyAt(left) ? left + 1 : left;
      if (keyAt(at) >= keyAt(child)) return;
      swap(at, child);
      at = child;
    }
  }
  function swap(a: number, b: number) {
    const [x, y] = [heap[a], heap[b]];
    if (!x || !y) return;
    heap[a] = y;
    heap[b] = x;
  }

  return {
    /** @param prompt the kept prompt that the row belongs to, or -1 */
    add(key: number, prompt: number, start: number, end: number, label: number) {
      if (key > limit) return;
      const known = byKey.get(key);
      if (known) {
        if (prompt >= 0 && known.prompts.at(-1) !== prompt && !known.prompts.includes(prompt))
          known.prompts.push(prompt);
        if (known.spans && known.spans.length < MAX_HOLDOUT_ROWS) known.spans.push({ start, end, label });
        else known.spans = null;
        return;
      }
      const group: Group = { key, prompts: prompt < 0 ? [] : [prompt], spans: [{ start, end, label }] };
      byKey.set(key, group);
      heap.push(group);
      up(heap.length - 1);
      if (heap.length < MAX_GROUPS) return;
      if (heap.length === MAX_GROUPS) {
        limit = keyAt(0);
        return;
      }
      const [root, last] = [heap[0], heap.pop()];
      if (root && last) {
        heap[0] = last;
        byKey.delete(root.key);
        down();
      }
      limit = keyAt(0);
    },
    /** The groups by key. */
    groups: (): Group[] => [...heap].sort((a, b) => a.key - b.key),
  };
}

/** Joins groups whose prompts are nearly equal. A set of prompts that is not complete here cannot be chosen. */
function joined(groups: Group[], sets: ReturnType<typeof createSets>): Group[] {
  const byRoot = new Map<number, Group>();
  const all: Group[] = [];
  for (const group of groups) {
    const [first] = group.prompts;
    const root = first === undefined ? -1 : sets.root(first);
    const known = root < 0 ? undefined : byRoot.get(root);
    if (known) {
      known.prompts.push(...group.prompts);
      known.spans = known.spans && group.spans && [...known.spans, ...group.spans];
      if ((known.spans?.length ?? 0) > MAX_HOLDOUT_ROWS) known.spans = null;
      continue;
    }
    const own = { ...group, prompts: [...group.prompts] };
    all.push(own);
    if (root >= 0) byRoot.set(root, own);
  }
  return all.filter(({ prompts }) => prompts[0] === undefined || sets.size(prompts[0]) === prompts.length);
}

/** Rows of each label in a split of `wanted` of `rows`: the shares of all rows, by largest remainder. */
function quotasOf(labels: Map<number, number>, rows: number, wanted: number): Map<number, number> {
  const exact = [...labels].map(([label, count]) => ({ label, count, share: (wanted * count) / rows }));
  const quotas = new Map(exact.map(({ label, share }) => [label, Math.floor(share)]));
  let left = wanted - [...quotas.values()].reduce((sum, count) => sum + count, 0);
  for (const { label } of exact.sort((a, b) => (b.share % 1) - (a.share % 1) || a.label - b.label))
    if (left-- > 0) quotas.set(label, (quotas.get(label) ?? 0) + 1);
  return quotas;
}

/** Takes groups in order of their keys, first by the quota of each label, then by size alone. */
function take(groups: Group[], rows: number, wanted: number, labels: Map<number, number> | null): RowSpan[] {
  const chosen: RowSpan[] = [];
  const taken = new Map<number, number>();
  const rest = new Set(groups);
  const fits = (spans: LabeledSpan[], most: number, limit: (label: number) => number) => {
    if (chosen.length + spans.length > most) return false;
    if (!labels) return true;
    const counts = new Map<number, number>();
    for (const { label } of spans) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts].every(([label, count]) => (taken.get(label) ?? 0) + count <= limit(label));
  };
  const add = (group: Group, spans: LabeledSpan[]) => {
    rest.delete(group);
    chosen.push(...spans);
    for (const { label } of spans) taken.set(label, (taken.get(label) ?? 0) + 1);
  };
  const quotas = labels && quotasOf(labels, rows, wanted);
  // One row of each label stays for training.
  const all = (label: number) => (labels?.get(label) ?? 0) - 1;
  for (const limit of quotas ? [(label: number) => quotas.get(label) ?? 0, all] : [all])
    for (const group of rest) if (group.spans && fits(group.spans, wanted, limit)) add(group, group.spans);
  if (chosen.length > 0) return chosen;
  // Every group is larger than the split: the smallest one, when most rows stay for training.
  const most = Math.min(MAX_HOLDOUT_ROWS, Math.floor(rows / 4));
  const [smallest] = [...rest]
    .filter(({ spans }) => spans)
    .sort((a, b) => (a.spans?.length ?? 0) - (b.spans?.length ?? 0));
  if (smallest?.spans && fits(smallest.spans, most, all)) add(smallest, smallest.spans);
  return chosen;
}

/** What a row is grouped by. */
export interface SplitKeys {
  /** Hashes of the whole row, of its prompt, and of the first prompt that is nearly equal to it. */
  row: Hash;
  prompt: Hash;
  near: Hash;
  /** The kept prompt with the key `near`, or -1. */
  nearId: number;
  /** Label of the row; 0 without one. */
  label: number;
}

/** How rows of a split are kept together: by nearly equal prompts, by equal prompts, or only equal rows. */
export type SplitBy = "near_prompt" | "prompt" | "row";

/**
 * Creates the selection. Near prompts that turn out to be connected are joined in `sets`. `late` has the prompts that
 * were not compared with each other yet.
 */
export function createHoldout(
  seed: number,
  sets: ReturnType<typeof createSets>,
  late: ReturnType<typeof createLatePrompts>,
) {
  const levels = { near_prompt: createSmallest(), prompt: createSmallest(), row: createSmallest() };

  /** Groups without nearly equal prompts elsewhere. */
  function nearGroups(): Group[] {
    const groups = joined(levels.near_prompt.groups(), sets);
    const keys = new Set(groups.filter(({ prompts }) => prompts.length === 0).map(({ key }) => key));
    const linked = late.linked(keys, (prompt) => splitKey(prompt, seed));
    return groups.filter(({ key }) => !linked.has(key));
  }

  return {
    add({ row, prompt, near, nearId, label }: SplitKeys, start: number, end: number) {
      const promptKey = splitKey(prompt, seed);
      const isNew = near.lo === prompt.lo && near.hi === prompt.hi;
      const nearKey = isNew ? promptKey : splitKey(near, seed);
      levels.near_prompt.add(nearKey, nearId, start, end, label);
      levels.prompt.add(promptKey, -1, start, end, label);
      levels.row.add(splitKey(row, seed), -1, start, end, label);
    },
    /**
     * The validation rows in file order: about the fraction of `rows`, and at most 1,000.
     * @param labels rows of each label; null when rows have none
     */
    choose(rows: number, fraction: number, labels: Map<number, number> | null): { spans: RowSpan[]; by: SplitBy } {
      const wanted = holdoutSize(rows, fraction);
      let by: SplitBy = "near_prompt";
      let spans: RowSpan[] = [];
      for (by of ["near_prompt", "prompt", "row"] as const) {
        if (wanted === 0) break;
        spans = take(by === "near_prompt" ? nearGroups() : levels[by].groups(), rows, wanted, labels);
        if (spans.length > 0 && spans.length >= wanted * ENOUGH) break;
      }
      return { spans: spans.sort((a, b) => a.start - b.start), by };
    },
    /** Deletes temporary files. */
    drop: late.drop,
  };
}
