/**
 * Checks a model directory without loading it: only safetensors and tokenizer files, no pickles, no code, valid
 * headers.
 */
import { lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { extname, join } from "node:path";
import { AppError } from "../../errors.ts";
import { isSafePath } from "../../lib/disk/manifest.ts";
import { realPathIn } from "./roots.ts";

/** Architecture numbers as stored in `base_model.architecture`. */
interface Architecture {
  [key: string]: unknown;
  model_type: string;
  parameters: number;
  layers: number | null;
  hidden_size: number | null;
  attention_heads: number | null;
  key_value_heads: number | null;
  vocab_size: number | null;
  context_length: number;
  has_chat_template: boolean;
}

const PICKLES = /\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|npz|h5|msgpack)$/i;
const CODE = /\.(py|pyc|so|sh|dll|exe)$/i;
const KEEP =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|model\.safetensors\.index)\.json$|^merges\.txt$|^chat_template\.jinja$|^(model|model-\d{5}-of-\d{5})\.safetensors$|^(LICENSE|LICENSE\.txt|LICENSE\.md|NOTICE|USE_POLICY\.md)$/;
const WIDTH: Record<string, number> = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
};
const MAX_HEADER = 100 * 1024 * 1024;
const MAX_JSON = 64 * 1024 * 1024;

/** True for the files that a model needs; other files are not downloaded or copied. */
export function isModelFile(path: string): boolean {
  return KEEP.test(path);
}

/** The error for a model that is refused, with the reason. */
export function refused(message: string): AppError {
  return new AppError("invalid", "model_refused", `This model cannot be used. ${message}`, { param: "directory" });
}

/** Refuses file names of pickled weights or code. @throws AppError `model_refused` */
export function refuseName(path: string): void {
  if (PICKLES.test(path))
    throw refused(`${path} may hold pickled weights, which can run code: convert the model to safetensors.`);
  if (CODE.test(path)) throw refused(`${path} is code. Models with code of their own are refused.`);
}

async function readStart(path: string, bytes: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const buffer = Buffer.alloc(bytes);
    const { bytesRead } = await file.read(buffer, 0, bytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function parse(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw refused(`${name} is not valid JSON.`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

interface Tensor {
  name: string;
  begin: number;
  end: number;
  count: number;
  dimensions: number;
}

function tensorOf(file: string, name: string, value: unknown): Tensor {
  const wrong = () => refused(`${file}: tensor ${JSON.stringify(name.slice(0, 100))} does not match the file.`);
  if (!isObject(value) || !Array.isArray(value.data_offsets) || !Array.isArray(value.shape)) throw wrong();
  const [begin, end] = value.data_offsets as unknown[];
  const width = typeof value.dtype === "string" ? WIDTH[value.dtype] : undefined;
  if (typeof begin !== "number" || typeof end !== "number" || width === undefined) throw wrong();
  let count = 1;
  for (const size of value.shape as unknown[]) {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw wrong();
    count *= size;
  }
  if (!Number.isSafeInteger(count) || end - begin !== count * width) throw wrong();
  return { name, begin, end, count, dimensions: value.shape.length };
}

/**
 * The tensors of a safetensors file. Checks the header against the size of the file.
 * @throws AppError `model_refused`
 */
export async function readSafetensors(path: string, file: string): Promise<Tensor[]> {
  const { size } = statSync(path);
  const start = await readStart(path, 8);
  const length = start.length === 8 ? Number(start.readBigUInt64LE()) : Number.POSITIVE_INFINITY;
  if (length > Math.min(MAX_HEADER, size - 8)) throw refused(`${file} is not a safetensors file.`);
  const header = parse(file, (await readStart(path, 8 + length)).subarray(8).toString("utf8"));
  if (!isObject(header)) throw refused(`${file} is not a safetensors file.`);
  const tensors = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => tensorOf(file, name, value))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const tensor of tensors) {
    if (tensor.begin !== expected)
      throw refused(`${file}: tensor ${JSON.stringify(tensor.name)} does not match the file.`);
    expected = tensor.end;
  }
  if (8 + length + expected !== size)
    throw refused(`${file} has ${size} bytes, but its header says ${8 + length + expected}: the file is incomplete.`);
  return tensors;
}

async function readJson(directory: string, file: string): Promise<unknown> {
  const path = join(directory, file);
  const { size } = statSync(path);
  if (size > MAX_JSON) throw refused(`${file} has ${size} bytes; the limit is ${MAX_JSON}.`);
  const content = parse(file, await Bun.file(path).text());
  if (asksForCode(content))
    throw refused(`${file} has an \`auto_map\`, which asks to run the model author's code. Such models are refused.`);
  return content;
}

/** Whether `auto_map` is anywhere in `content`. As a token of a vocabulary its value is a number, which is fine. */
function asksForCode(content: unknown): boolean {
  const rest: unknown[] = [content];
  while (rest.length > 0) {
    const value = rest.pop();
    if (typeof value !== "object" || value === null) continue;
    for (const [name, item] of Object.entries(value)) {
      if (name === "auto_map" && item !== null && typeof item !== "number") return true;
      if (typeof item === "object") rest.push(item);
    }
  }
  return false;
}

/**
 * Paths of all regular files below `directory`. Links are followed when they lead to a file in `directory` or in one of
 * `roots`. Refuses pickles and code. @throws AppError `model_refused`
 */
function listFiles(directory: string, roots: readonly string[]): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const full = join(entry.parentPath, entry.name);
    const path = full.slice(directory.length + 1);
    if (entry.isDirectory()) continue;
    if (found.length > 10_000) throw refused("The directory has more than 10,000 files.");
    refuseName(path);
    const isLink = lstatSync(full).isSymbolicLink();
    if (isLink && realPathIn(full, [directory, ...roots]) === null)
      throw refused(
        `${path} is a link that is broken or leads out of the directories that models may be imported from.`,
      );
    const target = isLink ? statSync(full, { throwIfNoEntry: false }) : lstatSync(full);
    if (!target?.isFile()) throw refused(`${path} is not a file or a link to a file.`);
    if (!isSafePath(path) && isModelFile(entry.name))
      throw refused(`${path} has a name with characters that are not allowed.`);
    found.push(path);
  }
  return found;
}

const numberOr = (value: unknown, fallback: number | null) => (typeof value === "number" ? value : fallback);

/**
 * Checks a model directory and describes it.
 * @param given an absolute path
 * @param roots directories that links may lead into, besides the model's own
 * @returns the files worth keeping (relative paths), and the architecture numbers
 * @throws AppError `model_refused` naming the file and the reason
 */
export async function inspectModel(
  given: string,
  roots: readonly string[] = [],
): Promise<{ files: string[]; architecture: Architecture }> {
  if (!statSync(given, { throwIfNoEntry: false })?.isDirectory()) throw refused("It is not a directory.");
  const directory = realpathSync(given);
  const all = listFiles(directory, roots);
  for (const file of all) {
    if (file.endsWith(".safetensors")) continue;
    const magic = await readStart(join(directory, file), 2);
    if (
      magic.toString("latin1") === "PK" ||
      (magic[0] === 0x80 && magic[1] !== undefined && magic[1] >= 2 && magic[1] <= 5)
    )
      throw refused(`${file} is a pickle or an archive.`);
  }
  const files = all.filter(isModelFile).sort();
  const json = new Map<string, unknown>();
  for (const file of all) if (extname(file) === ".json") json.set(file, await readJson(directory, file));
  const config = json.get("config.json");
  if (!isObject(config) || typeof config.model_type !== "string")
    throw refused("config.json is missing or has no `model_type`.");
  if (!json.has("tokenizer.json")) throw refused("tokenizer.json is missing: save the model with its fast tokenizer.");
  const weights = files.filter((file) => file.endsWith(".safetensors"));
  if (weights.length === 0) throw refused("There is no model.safetensors: only safetensors weights are accepted.");
  const tensors = new Set<string>();
  let parameters = 0;
  for (const file of weights) {
    for (const { name, count } of await readSafetensors(join(directory, file), file)) {
      if (tensors.has(name)) throw refused(`Tensor ${JSON.stringify(name)} is in two files.`);
      tensors.add(name);
      parameters += count;
    }
  }
  checkIndex(json.get("model.safetensors.index.json"), tensors);
  const tokenizer = json.get("tokenizer_config.json");
  const heads = numberOr(config.num_attention_heads, null);
  const hidden = numberOr(config.hidden_size, null);
  return {
    files,
    architecture: {
      model_type: config.model_type,
      parameters,
      layers: numberOr(config.num_hidden_layers, null),
      hidden_size: hidden,
      intermediate_size: numberOr(config.intermediate_size, null),
      attention_heads: heads,
      key_value_heads: numberOr(config.num_key_value_heads, heads),
      head_dim: numberOr(config.head_dim, hidden && heads ? hidden / heads : null),
      vocab_size: numberOr(config.vocab_size, null),
      context_length: numberOr(config.max_position_embeddings, null) ?? 2048,
      tied_embeddings: config.tie_word_embeddings === true,
      has_chat_template:
        files.includes("chat_template.jinja") || (isObject(tokenizer) && typeof tokenizer.chat_template === "string"),
    },
  };
}

/** The index of a sharded model names the file of each tensor: every one of them must exist. */
function checkIndex(index: unknown, tensors: Set<string>): void {
  if (!isObject(index) || !isObject(index.weight_map)) return;
  for (const [tensor, file] of Object.entries(index.weight_map))
    if (!tensors.has(tensor))
      throw refused(`Tensor ${JSON.stringify(tensor)} is missing; it should be in ${String(file)}.`);
}
