/** Host and path of a request, read in one place by everything that depends on them. */
import { AppError } from "../errors.ts";

const SCHEME = "http://";
/** A host name, an IPv4 address or an IPv6 address in brackets, with or without a port. */
const HOST = /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/i;
const MAX_HOST = 260;
const MAX_PORT = 65_535;

/** The path of an absolute URL without its query, as the router reads it; much cheaper than parsing the URL. */
export function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const end = url.indexOf("?", start);
  return end === -1 ? url.slice(start) : url.slice(start, end);
}

/** True for the value of a Host header that names one host. */
function isHost(host: string): boolean {
  const match = host.length <= MAX_HOST ? HOST.exec(host) : null;
  if (!match) return false;
  const port = match[1] === undefined ? 80 : Number(match[1]);
  // The URL parser decides: `256.256.256.256` and `xn--` match the pattern but are not valid hosts.
  return port >= 1 && port <= MAX_PORT && URL.canParse(SCHEME + host);
}

/**
 * The host a request names. After this, `new URL(request.url)` does not throw.
 * @throws AppError `bad_host` when the header is not a valid host, or the URL is not absolute
 */
export function hostOf(request: Request): string {
  // TLS ends in a proxy: URLs here begin with http://, and the router relies on that.
  const isAbsolute = request.url.startsWith(SCHEME);
  const host = request.headers.get("host") ?? (isAbsolute ? new URL(request.url).host : "");
  if (!isAbsolute || !isHost(host))
    throw new AppError(
      "invalid",
      "bad_host",
      "The Host header must be one host name or IP address, with or without a port from 1 to 65535.",
    );
  return host;
}

/**
 * Refuses a path whose percent signs cannot be decoded: the router would hand on null in place of an id.
 * @throws AppError `invalid_path`
 */
export function requireDecodable(path: string): void {
  try {
    decodeURIComponent(path);
  } catch {
    throw new AppError(
      "invalid",
      "invalid_path",
      "The path has a percent sign that does not begin a valid UTF-8 character. Encode ids with encodeURIComponent.",
    );
  }
}
