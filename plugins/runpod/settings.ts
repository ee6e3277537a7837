/** The settings of the RunPod provider. Problems are reported per field. */
import { PINNED_IMAGE } from "../shared/rented.ts";
import { apiUrl, type FieldProblem, fieldProblems, listOf } from "../shared/vendor-settings.ts";

export interface Settings {
  apiKey: string;
  apiUrl: string;
  image: string;
  cloud: "SECURE" | "COMMUNITY";
  /** Data centers, in capitals. */
  dataCenters: string[];
  /** Countries, by ISO 3166 code. */
  countries: string[];
  diskGb: number;
  spot: boolean;
}

/** Reads the configuration. The settings are valid only without problems. */
export function readSettings(config: Record<string, unknown>): { settings: Settings; problems: FieldProblem[] } {
  const { problems, require } = fieldProblems();
  // RunPod's ids are in capitals, whatever people type.
  const regions = listOf(config.regions).map((text) => text.toUpperCase());
  const diskGb = Number(config.disk_gb ?? 60);
  const settings: Settings = {
    apiKey: String(config.api_key ?? ""),
    apiUrl: apiUrl(config.api_url),
    image: String(config.image ?? ""),
    cloud: config.cloud === "COMMUNITY" ? "COMMUNITY" : "SECURE",
    dataCenters: regions.filter((text) => text.length > 2),
    countries: regions.filter((text) => text.length === 2),
    diskGb,
    spot: config.spot === true,
  };
  require(/^[\x21-\x7e]{8,200}$/.test(
    settings.apiKey,
  ), "api_key", "The API key is missing or not a key.", "Create one in RunPod's console, Settings, API keys.");
  require(PINNED_IMAGE.test(
    settings.image,
  ), "image", "The image is not pinned by digest.", "Set REGISTRY/NAME@sha256:… of a published trainer image.");
  require(["SECURE", "COMMUNITY"].includes(
    String(config.cloud ?? "SECURE"),
  ), "cloud", "This cloud does not exist.", "Choose SECURE or COMMUNITY.");
  require(regions.every((text) =>
    /^[A-Z]{2}(-[A-Z0-9]{1,8}){0,3}$/.test(text),
  ), "regions", "A region is not an id.", "Use data centers such as EU-RO-1 or countries such as FR.");
  require(Number.isInteger(diskGb) &&
    diskGb >= 20 &&
    diskGb <= 2000, "disk_gb", `disk_gb is ${diskGb}.`, "Set a whole number from 20 to 2000.");
  require(settings.apiUrl !== "", "api_url", "This is not an address.", "Use https://api.runpod.io.");
  return { settings, problems };
}
