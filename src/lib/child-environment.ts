/**
 * The environment of programs that the server starts: enough to find files, a proxy and a package index, without the
 * server's own settings.
 */

const NAMES = new Set([
  "PATH",
  "HOME",
  "TMPDIR",
  "LANG",
  "LC_ALL",
  "LC_CTYPE",
  // Where pip finds its settings and keeps its downloads.
  "XDG_CONFIG_HOME",
  "XDG_CONFIG_DIRS",
  "XDG_CACHE_HOME",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
]);
const PATTERNS = [/^PIP_/, /^(https?|all|no)_proxy$/i];

/**
 * The variables of `from` that are on the list above, and `more`. Tokens of the server (FTL_*) and other variables
 * never reach pip, a build hook of a package, or a helper.
 */
export function cleanEnvironment(
  more: Record<string, string> = {},
  from: Record<string, string | undefined> = process.env,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(from))
    if (value !== undefined && (NAMES.has(name) || PATTERNS.some((pattern) => pattern.test(name)))) kept[name] = value;
  return Object.assign(kept, more);
}
