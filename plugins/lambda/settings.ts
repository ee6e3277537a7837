/** The settings of the Lambda provider. Problems are reported per field. */
import { PINNED_IMAGE } from "../shared/rented.ts";
import { apiUrl, type FieldProblem, fieldProblems, listOf } from "../shared/vendor-settings.ts";

export interface Settings {
  apiKey: string;
  apiUrl: string;
  image: string;
  /** Empty = all. */
  regions: string[];
  /** Name of a key of the account; empty = the installation's own. */
  sshKey: string;
  /** Name of a firewall ruleset; empty = none. */
  firewall: string;
}

const NAME = /^[^\p{Cc}]{0,64}$/u;

/** Reads the configuration. The settings are valid only without problems. */
export function readSettings(config: Record<string, unknown>): { settings: Settings; problems: FieldProblem[] } {
  const { problems, require } = fieldProblems();
  const settings: Settings = {
    apiKey: String(config.api_key ?? ""),
    apiUrl: apiUrl(config.api_url),
    image: String(config.image ?? ""),
    regions: listOf(config.regions).map((text) => text.toLowerCase()),
    sshKey: String(config.ssh_key ?? "").trim(),
    firewall: String(config.firewall ?? "").trim(),
  };
  require(/^[\x21-\x7e]{8,200}$/.test(
    settings.apiKey,
  ), "api_key", "The API key is missing or not a key.", "Create one in the Lambda Cloud console, API keys.");
  require(PINNED_IMAGE.test(
    settings.image,
  ), "image", "The image is not pinned by digest.", "Set REGISTRY/NAME@sha256:… of a published trainer image.");
  require(settings.regions.every((text) =>
    /^[a-z]{2,12}(-[a-z0-9]{1,12}){1,3}$/.test(text),
  ), "regions", "A region is not an id.", "Use regions such as us-west-1.");
  require(NAME.test(
    settings.sshKey,
  ), "ssh_key", "This is not a name of an SSH key.", "Use the name that the console shows, at most 64 characters.");
  require(NAME.test(
    settings.firewall,
  ), "firewall", "This is not a name of a ruleset.", "Use the name that the console shows, at most 64 characters.");
  require(settings.apiUrl !== "", "api_url", "This is not an address.", "Use https://cloud.lambda.ai.");
  return { settings, problems };
}
